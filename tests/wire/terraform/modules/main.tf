# What widely used modules of the registry make of their inputs, in one configuration: a network of three zones with NAT gateways and flow logs, groups
# with rules on their own, a load balancer, and a scaled group of machines with a role. `changed`: one NAT gateway for all zones, and other machines.
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "5.100.0"
    }
  }
}
variable "port" { type = number }
variable "access_key" { type = string }
variable "image" { type = string }
variable "changed" {
  type    = bool
  default = false
}

locals {
  endpoint = "http://127.0.0.1:${var.port}"
  name     = "shop"
  cidr     = "10.20.0.0/16"
  zones    = slice(data.aws_availability_zones.available.names, 0, 3)
  public   = [for number, zone in local.zones : cidrsubnet(local.cidr, 8, number)]
  private  = [for number, zone in local.zones : cidrsubnet(local.cidr, 4, number + 1)]
  database = [for number, zone in local.zones : cidrsubnet(local.cidr, 8, number + 200)]
  nats     = var.changed ? 1 : length(local.zones)
  tags     = { Project = local.name, Stage = var.changed ? "two" : "one" }
}

provider "aws" {
  region                      = "us-east-1"
  access_key                  = var.access_key
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  s3_use_path_style           = true
  default_tags { tags = { Terraform = "true" } }
  endpoints {
    autoscaling    = local.endpoint
    cloudwatch     = local.endpoint
    cloudwatchlogs = local.endpoint
    ec2            = local.endpoint
    elbv2          = local.endpoint
    iam            = local.endpoint
    s3             = local.endpoint
    ssm            = local.endpoint
    sts            = local.endpoint
  }
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}
data "aws_availability_zones" "available" {
  state = "available"
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

# The network

resource "aws_vpc" "this" {
  cidr_block           = local.cidr
  instance_tenancy     = "default"
  enable_dns_hostnames = true
  enable_dns_support   = true
  tags                 = merge({ Name = local.name }, local.tags)
}

resource "aws_vpc_ipv4_cidr_block_association" "more" {
  vpc_id     = aws_vpc.this.id
  cidr_block = "10.21.0.0/16"
}

resource "aws_vpc_dhcp_options" "this" {
  domain_name         = "shop.internal"
  domain_name_servers = ["AmazonProvidedDNS"]
  tags                = merge({ Name = local.name }, local.tags)
}

resource "aws_vpc_dhcp_options_association" "this" {
  vpc_id          = aws_vpc.this.id
  dhcp_options_id = aws_vpc_dhcp_options.this.id
}

resource "aws_default_security_group" "this" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${local.name}-default" }
}

resource "aws_default_route_table" "default" {
  default_route_table_id = aws_vpc.this.default_route_table_id
  tags                   = { Name = "${local.name}-default" }
  timeouts {
    create = "5m"
    update = "5m"
  }
}

resource "aws_default_network_acl" "this" {
  default_network_acl_id = aws_vpc.this.default_network_acl_id
  subnet_ids             = null
  ingress {
    action     = "allow"
    rule_no    = 100
    from_port  = 0
    to_port    = 0
    protocol   = "-1"
    cidr_block = "0.0.0.0/0"
  }
  ingress {
    action          = "allow"
    rule_no         = 101
    from_port       = 0
    to_port         = 0
    protocol        = "-1"
    ipv6_cidr_block = "::/0"
  }
  egress {
    action     = "allow"
    rule_no    = 100
    from_port  = 0
    to_port    = 0
    protocol   = "-1"
    cidr_block = "0.0.0.0/0"
  }
  egress {
    action          = "allow"
    rule_no         = 101
    from_port       = 0
    to_port         = 0
    protocol        = "-1"
    ipv6_cidr_block = "::/0"
  }
  tags = { Name = "${local.name}-default" }
  lifecycle { ignore_changes = [subnet_ids] }
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id
  tags   = merge({ Name = local.name }, local.tags)
}

resource "aws_subnet" "public" {
  count                                          = length(local.zones)
  vpc_id                                         = aws_vpc.this.id
  availability_zone                              = element(local.zones, count.index)
  cidr_block                                     = element(local.public, count.index)
  map_public_ip_on_launch                        = true
  private_dns_hostname_type_on_launch            = "ip-name"
  enable_resource_name_dns_a_record_on_launch    = false
  enable_resource_name_dns_aaaa_record_on_launch = false
  tags                                           = { Name = format("${local.name}-public-%s", element(local.zones, count.index)) }
}

resource "aws_subnet" "private" {
  count             = length(local.zones)
  vpc_id            = aws_vpc.this.id
  availability_zone = element(local.zones, count.index)
  cidr_block        = element(local.private, count.index)
  tags              = { Name = format("${local.name}-private-%s", element(local.zones, count.index)) }
}

resource "aws_subnet" "database" {
  count             = length(local.zones)
  vpc_id            = aws_vpc.this.id
  availability_zone = element(local.zones, count.index)
  cidr_block        = element(local.database, count.index)
}

resource "aws_network_acl" "database" {
  vpc_id     = aws_vpc.this.id
  subnet_ids = aws_subnet.database[*].id
  tags       = { Name = "${local.name}-db" }
}

resource "aws_network_acl_rule" "database" {
  for_each       = { in = false, out = true }
  network_acl_id = aws_network_acl.database.id
  egress         = each.value
  rule_number    = var.changed ? 110 : 100
  rule_action    = "allow"
  protocol       = "tcp"
  from_port      = each.value ? 1024 : 5432
  to_port        = each.value ? 65535 : 5432
  cidr_block     = local.cidr
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.this.id
  tags   = merge({ Name = "${local.name}-public" }, local.tags)
}

resource "aws_route" "public_internet_gateway" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
  timeouts { create = "5m" }
}

resource "aws_route_table_association" "public" {
  count          = length(local.zones)
  subnet_id      = element(aws_subnet.public[*].id, count.index)
  route_table_id = aws_route_table.public.id
}

resource "aws_eip" "nat" {
  count      = local.nats
  domain     = "vpc"
  tags       = { Name = format("${local.name}-%s", element(local.zones, count.index)) }
  depends_on = [aws_internet_gateway.this]
}

resource "aws_nat_gateway" "this" {
  count         = local.nats
  allocation_id = element(aws_eip.nat[*].id, count.index)
  subnet_id     = element(aws_subnet.public[*].id, count.index)
  tags          = { Name = format("${local.name}-%s", element(local.zones, count.index)) }
  depends_on    = [aws_internet_gateway.this]
}

resource "aws_route_table" "private" {
  count  = local.nats
  vpc_id = aws_vpc.this.id
  tags   = { Name = format("${local.name}-private-%s", element(local.zones, count.index)) }
}

resource "aws_route" "private_nat_gateway" {
  count                  = local.nats
  route_table_id         = element(aws_route_table.private[*].id, count.index)
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = element(aws_nat_gateway.this[*].id, count.index)
  timeouts { create = "5m" }
}

resource "aws_route_table_association" "private" {
  count          = length(local.zones)
  subnet_id      = element(aws_subnet.private[*].id, count.index)
  route_table_id = element(aws_route_table.private[*].id, var.changed ? 0 : count.index)
}

resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.this.id
  service_name      = "com.amazonaws.${data.aws_region.current.name}.s3"
  vpc_endpoint_type = "Gateway"
  tags              = { Name = "s3" }
}

resource "aws_vpc_endpoint_route_table_association" "private" {
  count           = local.nats
  vpc_endpoint_id = aws_vpc_endpoint.s3.id
  route_table_id  = element(aws_route_table.private[*].id, count.index)
}

resource "aws_security_group" "endpoints" {
  name_prefix = "endpoints-"
  vpc_id      = aws_vpc.this.id

  ingress {
    from_port   = 443
    to_port     = 443
    protocol    = "tcp"
    cidr_blocks = [aws_vpc.this.cidr_block]
  }

  lifecycle { create_before_destroy = true }
}

data "aws_vpc_endpoint_service" "interface" {
  for_each = toset(["ec2", "ssm"])
  service  = each.key

  filter {
    name   = "service-type"
    values = ["Interface"]
  }
}

resource "aws_vpc_endpoint" "interface" {
  for_each            = data.aws_vpc_endpoint_service.interface
  vpc_id              = aws_vpc.this.id
  service_name        = each.value.service_name
  vpc_endpoint_type   = "Interface"
  security_group_ids  = [aws_security_group.endpoints.id]
  subnet_ids          = var.changed ? aws_subnet.private[*].id : slice(aws_subnet.private[*].id, 0, 1)
  private_dns_enabled = true
  tags                = { Name = each.key }
}

# Its flow logs

data "aws_iam_policy_document" "flow_log_trust" {
  statement {
    sid     = "AWSVPCFlowLogsAssumeRole"
    effect  = "Allow"
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["vpc-flow-logs.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "flow_log" {
  statement {
    effect    = "Allow"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogGroups", "logs:DescribeLogStreams"]
    resources = ["*"]
  }
}

resource "aws_cloudwatch_log_group" "flow_log" {
  name              = "/aws/vpc-flow-log/${aws_vpc.this.id}"
  retention_in_days = var.changed ? 14 : 7
}

resource "aws_iam_role" "flow_log" {
  name_prefix        = "vpc-flow-log-role-"
  assume_role_policy = data.aws_iam_policy_document.flow_log_trust.json
}

resource "aws_iam_policy" "flow_log" {
  name_prefix = "vpc-flow-log-to-cloudwatch-"
  policy      = data.aws_iam_policy_document.flow_log.json
}

resource "aws_iam_role_policy_attachment" "flow_log" {
  role       = aws_iam_role.flow_log.name
  policy_arn = aws_iam_policy.flow_log.arn
}

resource "aws_flow_log" "this" {
  log_destination_type     = "cloud-watch-logs"
  log_destination          = aws_cloudwatch_log_group.flow_log.arn
  iam_role_arn             = aws_iam_role.flow_log.arn
  traffic_type             = "ALL"
  vpc_id                   = aws_vpc.this.id
  max_aggregation_interval = 60
  tags                     = { Name = local.name }
}

resource "aws_s3_bucket" "logs" {
  bucket_prefix = "shop-logs-"
  force_destroy = true
}

resource "aws_flow_log" "objects" {
  log_destination_type = "s3"
  log_destination      = "${aws_s3_bucket.logs.arn}/flows"
  traffic_type         = "REJECT"
  vpc_id               = aws_vpc.this.id
  destination_options {
    file_format        = "plain-text"
    per_hour_partition = true
  }
}

# Security groups with rules of their own

resource "aws_security_group" "alb" {
  name_prefix            = "${local.name}-alb-"
  description            = "Security Group managed by Terraform"
  vpc_id                 = aws_vpc.this.id
  revoke_rules_on_delete = false
  tags                   = { Name = "${local.name}-alb" }
  lifecycle { create_before_destroy = true }
  timeouts {
    create = "10m"
    delete = "15m"
  }
}

resource "aws_vpc_security_group_ingress_rule" "alb" {
  for_each          = var.changed ? { http = 80, more = 8080 } : { http = 80 }
  security_group_id = aws_security_group.alb.id
  cidr_ipv4         = "0.0.0.0/0"
  from_port         = each.value
  to_port           = each.value
  ip_protocol       = "tcp"
  description       = each.key
  tags              = { Name = "${local.name}-${each.key}" }
}

resource "aws_vpc_security_group_egress_rule" "alb" {
  security_group_id = aws_security_group.alb.id
  cidr_ipv4         = aws_vpc.this.cidr_block
  ip_protocol       = "-1"
}

resource "aws_security_group" "web" {
  name_prefix = "${local.name}-web-"
  description = "web"
  vpc_id      = aws_vpc.this.id
  lifecycle { create_before_destroy = true }
}

resource "aws_security_group_rule" "web_from_alb" {
  count                    = 1
  security_group_id        = aws_security_group.web.id
  type                     = "ingress"
  source_security_group_id = aws_security_group.alb.id
  description              = "HTTP"
  from_port                = 80
  to_port                  = 80
  protocol                 = "tcp"
}

resource "aws_security_group_rule" "web_self" {
  security_group_id = aws_security_group.web.id
  type              = "ingress"
  self              = true
  from_port         = 0
  to_port           = 0
  protocol          = "-1"
}

resource "aws_security_group_rule" "web_out" {
  security_group_id = aws_security_group.web.id
  type              = "egress"
  cidr_blocks       = ["0.0.0.0/0"]
  ipv6_cidr_blocks  = ["::/0"]
  from_port         = 0
  to_port           = 0
  protocol          = "-1"
}

# The load balancer

resource "aws_lb" "this" {
  name                       = local.name
  load_balancer_type         = "application"
  internal                   = false
  security_groups            = [aws_security_group.alb.id]
  subnets                    = aws_subnet.public[*].id
  enable_deletion_protection = false
  idle_timeout               = var.changed ? 90 : 60
  drop_invalid_header_fields = true
  timeouts {}
}

resource "aws_lb_target_group" "web" {
  name_prefix                       = "web-"
  vpc_id                            = aws_vpc.this.id
  port                              = 80
  protocol                          = "HTTP"
  target_type                       = "instance"
  deregistration_delay              = 5
  load_balancing_cross_zone_enabled = true
  health_check {
    enabled             = true
    interval            = 30
    path                = var.changed ? "/health" : "/"
    port                = "traffic-port"
    healthy_threshold   = 3
    unhealthy_threshold = 3
    timeout             = 6
    protocol            = "HTTP"
    matcher             = "200-399"
  }
  lifecycle { create_before_destroy = true }
}

resource "aws_lb_listener" "http" {
  load_balancer_arn = aws_lb.this.arn
  port              = 80
  protocol          = "HTTP"
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.web.arn
  }
}

resource "aws_lb_listener_rule" "fixed" {
  listener_arn = aws_lb_listener.http.arn
  priority     = 5
  action {
    type = "fixed-response"
    fixed_response {
      content_type = "text/plain"
      message_body = "no"
      status_code  = "404"
    }
  }
  condition {
    path_pattern { values = ["/admin/*"] }
  }
}

# Machines with a role, behind it

data "aws_iam_policy_document" "machine_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.${data.aws_partition.current.dns_suffix}"]
    }
  }
}

resource "aws_iam_role" "machine" {
  name_prefix           = "${local.name}-"
  path                  = "/ec2/"
  assume_role_policy    = data.aws_iam_policy_document.machine_trust.json
  force_detach_policies = true
}

resource "aws_iam_role_policy_attachment" "machine" {
  for_each   = { ssm = "arn:${data.aws_partition.current.partition}:iam::aws:policy/AmazonSSMManagedInstanceCore" }
  role       = aws_iam_role.machine.name
  policy_arn = each.value
}

resource "aws_iam_instance_profile" "machine" {
  name_prefix = "${local.name}-"
  path        = "/ec2/"
  role        = aws_iam_role.machine.name
  lifecycle { create_before_destroy = true }
}

resource "aws_launch_template" "this" {
  name_prefix            = "${local.name}-"
  description            = "machines"
  image_id               = var.image
  instance_type          = var.changed ? "t3.micro" : "t3.nano"
  ebs_optimized          = true
  update_default_version = true
  user_data              = base64encode("#!/bin/sh\necho ${var.changed}\n")
  iam_instance_profile { arn = aws_iam_instance_profile.machine.arn }
  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      delete_on_termination = true
      volume_size           = 9
      volume_type           = "gp3"
    }
  }
  credit_specification { cpu_credits = "standard" }
  maintenance_options { auto_recovery = "default" }
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 2
    instance_metadata_tags      = "enabled"
  }
  monitoring { enabled = true }
  network_interfaces {
    delete_on_termination = true
    description           = "eth0"
    device_index          = 0
    security_groups       = [aws_security_group.web.id]
  }
  private_dns_name_options {
    enable_resource_name_dns_a_record = false
    hostname_type                     = "ip-name"
  }
  tag_specifications {
    resource_type = "instance"
    tags          = { WhatAmI = "Instance" }
  }
  tag_specifications {
    resource_type = "volume"
    tags          = { WhatAmI = "Volume" }
  }
  lifecycle { create_before_destroy = true }
}

resource "aws_autoscaling_group" "this" {
  name_prefix               = "${local.name}-"
  min_size                  = 0
  max_size                  = 4
  desired_capacity          = var.changed ? 2 : 1
  vpc_zone_identifier       = aws_subnet.private[*].id
  health_check_type         = "EC2"
  health_check_grace_period = 300
  wait_for_capacity_timeout = 0
  termination_policies      = ["OldestInstance"]
  enabled_metrics           = ["GroupDesiredCapacity", "GroupInServiceInstances"]
  protect_from_scale_in     = false
  force_delete              = true
  launch_template {
    id      = aws_launch_template.this.id
    version = aws_launch_template.this.default_version
  }
  initial_lifecycle_hook {
    name                 = "startup"
    default_result       = "CONTINUE"
    heartbeat_timeout    = 30
    lifecycle_transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
  }
  instance_refresh {
    strategy = "Rolling"
    preferences {
      checkpoint_delay       = 600
      checkpoint_percentages = [35, 70, 100]
      instance_warmup        = 300
      min_healthy_percentage = 50
      max_healthy_percentage = 100
    }
    triggers = ["tag"]
  }
  instance_maintenance_policy {
    min_healthy_percentage = 90
    max_healthy_percentage = 110
  }
  dynamic "tag" {
    for_each = merge({ Name = local.name }, local.tags)
    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }
  timeouts { delete = "10m" }
  lifecycle {
    create_before_destroy = true
    ignore_changes        = [load_balancers, target_group_arns]
  }
}

resource "aws_autoscaling_traffic_source_attachment" "this" {
  autoscaling_group_name = aws_autoscaling_group.this.id
  traffic_source {
    identifier = aws_lb_target_group.web.arn
    type       = "elbv2"
  }
}

resource "aws_autoscaling_policy" "cpu" {
  name                      = "avg-cpu-policy-greater-than-50"
  autoscaling_group_name    = aws_autoscaling_group.this.name
  policy_type               = "TargetTrackingScaling"
  estimated_instance_warmup = 120
  target_tracking_configuration {
    predefined_metric_specification { predefined_metric_type = "ASGAverageCPUUtilization" }
    target_value = var.changed ? 60 : 50
  }
}

resource "aws_autoscaling_policy" "requests" {
  name                   = "request-count-per-target"
  autoscaling_group_name = aws_autoscaling_group.this.name
  policy_type            = "TargetTrackingScaling"
  target_tracking_configuration {
    predefined_metric_specification {
      predefined_metric_type = "ALBRequestCountPerTarget"
      resource_label         = "${aws_lb.this.arn_suffix}/${aws_lb_target_group.web.arn_suffix}"
    }
    target_value = 800
  }
  depends_on = [aws_autoscaling_traffic_source_attachment.this, aws_lb_listener.http]
}

resource "aws_autoscaling_schedule" "night" {
  scheduled_action_name  = "night"
  autoscaling_group_name = aws_autoscaling_group.this.name
  min_size               = 0
  max_size               = 1
  desired_capacity       = 0
  recurrence             = "0 18 * * 1-5"
  time_zone              = "Europe/Rome"
}

resource "aws_ssm_parameter" "endpoint" {
  name  = "/${local.name}/endpoint"
  type  = "SecureString"
  value = aws_lb.this.dns_name
}
