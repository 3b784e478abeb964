# What Terraform users configure of load balancers, listeners, rules and target groups: each argument of the provider that gureum has, once.
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}
variable "port" { type = number }
variable "access_key" { type = string }
variable "changed" {
  type    = bool
  default = false
}
provider "aws" {
  region                  = "us-east-1"
  access_key              = var.access_key
  secret_key              = "test"
  skip_metadata_api_check = true
  skip_region_validation  = true
  endpoints {
    ec2   = "http://127.0.0.1:${var.port}"
    elbv2 = "http://127.0.0.1:${var.port}"
    sts   = "http://127.0.0.1:${var.port}"
    iam   = "http://127.0.0.1:${var.port}"
    acm   = "http://127.0.0.1:${var.port}"
  }
}
locals { c = var.changed }
resource "aws_vpc" "main" {
  cidr_block           = "10.0.0.0/16"
  enable_dns_hostnames = true
}
resource "aws_internet_gateway" "main" { vpc_id = aws_vpc.main.id }
resource "aws_subnet" "zone" {
  count             = 3
  vpc_id            = aws_vpc.main.id
  cidr_block        = cidrsubnet(aws_vpc.main.cidr_block, 8, count.index)
  availability_zone = "us-east-1${["a", "b", "c"][count.index]}"
}
resource "aws_security_group" "web" {
  count  = 2
  vpc_id = aws_vpc.main.id
}
resource "aws_acm_certificate" "a" {
  domain_name       = "one.example.com"
  validation_method = "DNS"
}
resource "aws_acm_certificate_validation" "a" { certificate_arn = aws_acm_certificate.a.arn }
resource "aws_acm_certificate" "b" {
  domain_name       = "two.example.com"
  validation_method = "DNS"
}
resource "aws_acm_certificate_validation" "b" { certificate_arn = aws_acm_certificate.b.arn }

resource "aws_lb" "alb" {
  name_prefix                                 = "tf-"
  internal                                    = true
  security_groups                             = local.c ? aws_security_group.web[*].id : [aws_security_group.web[0].id]
  subnets                                     = aws_subnet.zone[*].id
  idle_timeout                                = local.c ? 60 : 30
  enable_deletion_protection                  = false
  desync_mitigation_mode                      = local.c ? "strictest" : "monitor"
  drop_invalid_header_fields                  = local.c
  enable_http2                                = local.c
  enable_tls_version_and_cipher_suite_headers = local.c
  enable_xff_client_port                      = local.c
  preserve_host_header                        = local.c
  xff_header_processing_mode                  = local.c ? "remove" : "preserve"
  client_keep_alive                           = local.c ? 3600 : 7200
  enable_waf_fail_open                        = false
  enable_zonal_shift                          = false
}
resource "aws_lb" "noname" {
  internal = true
  subnets  = slice(aws_subnet.zone[*].id, 0, local.c ? 3 : 2)
}
resource "aws_lb" "mapped" {
  name     = "mapped"
  internal = true
  subnet_mapping { subnet_id = aws_subnet.zone[0].id }
  subnet_mapping { subnet_id = aws_subnet.zone[1].id }
}
resource "aws_lb" "nlb" {
  name                                                         = "nlb"
  internal                                                     = true
  load_balancer_type                                           = "network"
  security_groups                                              = local.c ? aws_security_group.web[*].id : [aws_security_group.web[0].id]
  subnets                                                      = slice(aws_subnet.zone[*].id, 0, local.c ? 3 : 2)
  enable_cross_zone_load_balancing                             = local.c
  dns_record_client_routing_policy                             = local.c ? "availability_zone_affinity" : "partial_availability_zone_affinity"
  enforce_security_group_inbound_rules_on_private_link_traffic = local.c ? "off" : "on"
}
resource "aws_lb" "nlbpriv" {
  internal           = true
  load_balancer_type = "network"
  subnet_mapping {
    subnet_id            = aws_subnet.zone[0].id
    private_ipv4_address = "10.0.0.77"
  }
  dynamic "subnet_mapping" {
    for_each = local.c ? [1] : []
    content {
      subnet_id            = aws_subnet.zone[1].id
      private_ipv4_address = "10.0.1.77"
    }
  }
}
resource "aws_lb_target_group" "odd" {
  port                              = 80
  protocol                          = "HTTP"
  vpc_id                            = aws_vpc.main.id
  load_balancing_algorithm_type     = "weighted_random"
  load_balancing_anomaly_mitigation = local.c ? "on" : "off"
}
resource "aws_lb_target_group" "basic" {
  port                              = 443
  protocol                          = "HTTPS"
  vpc_id                            = aws_vpc.main.id
  deregistration_delay              = 200
  slow_start                        = local.c ? 30 : 0
  load_balancing_algorithm_type     = "round_robin"
  load_balancing_anomaly_mitigation = "off"
  load_balancing_cross_zone_enabled = local.c ? "true" : "use_load_balancer_configuration"
  stickiness {
    type            = "lb_cookie"
    cookie_duration = 10000
    enabled         = local.c
  }
  health_check {
    path                = local.c ? "/health2" : "/health"
    interval            = local.c ? 30 : 60
    port                = local.c ? 8082 : 8081
    protocol            = local.c ? "HTTPS" : "HTTP"
    timeout             = local.c ? 4 : 3
    healthy_threshold   = local.c ? 4 : 3
    unhealthy_threshold = local.c ? 4 : 3
    matcher             = local.c ? "200" : "200-299"
  }
  tags = { Name = local.c ? "two" : "one" }
}
resource "aws_lb_target_group" "app" {
  name_prefix = "tf-"
  port        = 443
  protocol    = "HTTPS"
  vpc_id      = aws_vpc.main.id
  stickiness {
    type            = local.c ? "app_cookie" : "lb_cookie"
    cookie_name     = local.c ? "Cookie" : ""
    cookie_duration = 10000
    enabled         = true
  }
}
resource "aws_lb_target_group" "wr" {
  port                              = 80
  protocol                          = "HTTP"
  vpc_id                            = aws_vpc.main.id
  load_balancing_algorithm_type     = local.c ? "weighted_random" : "least_outstanding_requests"
  load_balancing_cross_zone_enabled = "false"
}
resource "aws_lb_target_group" "grpc" {
  port                 = 80
  protocol             = "HTTP"
  protocol_version     = "GRPC"
  vpc_id               = aws_vpc.main.id
  deregistration_delay = 200
  health_check {
    path                = "/shop.Health/Check"
    interval            = 60
    port                = 8080
    protocol            = "HTTP"
    timeout             = 3
    healthy_threshold   = 3
    unhealthy_threshold = 3
    matcher             = local.c ? "0-99" : "12"
  }
}
resource "aws_lb_target_group" "http2" {
  port             = 80
  protocol         = "HTTP"
  protocol_version = "HTTP2"
  vpc_id           = aws_vpc.main.id
}
resource "aws_lb_target_group" "tcp" {
  for_each               = toset(["TCP", "UDP", "TCP_UDP", "TLS"])
  name                   = "nlb-${lower(replace(each.key, "_", "-"))}"
  port                   = 8082
  protocol               = each.key
  vpc_id                 = aws_vpc.main.id
  deregistration_delay   = 200
  connection_termination = contains(["TCP", "TLS"], each.key) ? local.c : null
  preserve_client_ip     = each.key == "TCP" ? (local.c ? "false" : "true") : null
  proxy_protocol_v2      = each.key == "TCP" ? local.c : false
  dynamic "stickiness" {
    for_each = each.key == "TLS" ? [] : [1]
    content {
      type    = "source_ip"
      enabled = local.c
    }
  }
  health_check {
    interval            = local.c ? 20 : 10
    port                = "traffic-port"
    protocol            = "TCP"
    timeout             = local.c ? 15 : 10
    healthy_threshold   = local.c ? 5 : 3
    unhealthy_threshold = local.c ? 5 : 3
  }
}
resource "aws_lb_target_group" "tcphttp" {
  port     = 8082
  protocol = "TCP"
  vpc_id   = aws_vpc.main.id
  target_health_state {
    enable_unhealthy_connection_termination = !local.c
    unhealthy_draining_interval             = local.c ? 600 : null
  }
  target_group_health {
    dns_failover {
      minimum_healthy_targets_count      = local.c ? "1" : "off"
      minimum_healthy_targets_percentage = local.c ? "20" : "off"
    }
    unhealthy_state_routing {
      minimum_healthy_targets_count      = 1
      minimum_healthy_targets_percentage = local.c ? "10" : "off"
    }
  }
  health_check {
    protocol = "HTTP"
    path     = "/healthz"
    matcher  = local.c ? "200-299" : "200-399"
    interval = 30
    timeout  = 6
  }
}
resource "aws_lb_target_group" "alb" {
  target_type = "alb"
  port        = 80
  protocol    = "TCP"
  vpc_id      = aws_vpc.main.id
  health_check {
    path    = "/alb"
    matcher = "200-299"
  }
}
resource "aws_lb_target_group" "ip" {
  target_type = "ip"
  port        = 80
  protocol    = "TCP"
  vpc_id      = aws_vpc.main.id
}
resource "aws_lb_target_group_attachment" "ip" {
  count             = local.c ? 3 : 1
  target_group_arn  = aws_lb_target_group.ip.arn
  target_id         = "10.0.0.${20 + count.index}"
  port              = 8080
  availability_zone = "us-east-1a"
}
resource "aws_lb_target_group_attachment" "alb" {
  target_group_arn = aws_lb_target_group.alb.arn
  target_id        = aws_lb.alb.arn
  depends_on       = [aws_lb_listener.http]
}
resource "aws_lb_listener" "http" {
  load_balancer_arn                                                   = aws_lb.alb.arn
  port                                                                = 80
  protocol                                                            = "HTTP"
  routing_http_response_server_enabled                                = local.c ? true : false
  routing_http_response_strict_transport_security_header_value        = local.c ? "" : "max-age=600"
  routing_http_response_access_control_allow_origin_header_value      = "https://example.com"
  routing_http_response_access_control_allow_methods_header_value     = "GET,POST"
  routing_http_response_access_control_allow_headers_header_value     = "Content-Type"
  routing_http_response_access_control_allow_credentials_header_value = "true"
  routing_http_response_access_control_expose_headers_header_value    = "Cache-Control"
  routing_http_response_access_control_max_age_header_value           = "86400"
  routing_http_response_content_security_policy_header_value          = "*"
  routing_http_response_x_content_type_options_header_value           = "nosniff"
  routing_http_response_x_frame_options_header_value                  = "SAMEORIGIN"
  default_action {
    order = 1
    type  = "forward"
    forward {
      target_group {
        arn    = aws_lb_target_group.basic.arn
        weight = local.c ? 0 : 1
      }
      target_group {
        arn    = aws_lb_target_group.app.arn
        weight = 2
      }
      dynamic "stickiness" {
        for_each = local.c ? [1] : []
        content {
          enabled  = true
          duration = 3600
        }
      }
    }
  }
}
resource "aws_lb_listener" "https" {
  load_balancer_arn                                        = aws_lb.alb.arn
  port                                                     = 443
  protocol                                                 = "HTTPS"
  ssl_policy                                               = local.c ? "ELBSecurityPolicy-TLS13-1-2-2021-06" : "ELBSecurityPolicy-2016-08"
  certificate_arn                                          = local.c ? aws_acm_certificate_validation.b.certificate_arn : aws_acm_certificate_validation.a.certificate_arn
  routing_http_request_x_amzn_tls_version_header_name      = "x-tlsver"
  routing_http_request_x_amzn_tls_cipher_suite_header_name = local.c ? "" : "x-cipher"
  mutual_authentication { mode = "off" }
  default_action {
    type = "fixed-response"
    fixed_response {
      content_type = "text/plain"
      message_body = local.c ? "not here" : "here"
      status_code  = "200"
    }
  }
}
resource "aws_lb_listener_certificate" "x" {
  count           = local.c ? 0 : 1
  listener_arn    = aws_lb_listener.https.arn
  certificate_arn = aws_acm_certificate_validation.b.certificate_arn
}
resource "aws_lb_listener" "redir" {
  load_balancer_arn = aws_lb.alb.arn
  port              = 8080
  protocol          = "HTTP"
  default_action {
    type = "redirect"
    redirect {
      host        = "#{host}"
      path        = local.c ? "/#{path}/x" : "/#{path}"
      port        = "443"
      protocol    = "HTTPS"
      query       = local.c ? "#{query}&a=1" : "#{query}"
      status_code = "HTTP_301"
    }
  }
}
resource "aws_lb_listener" "tcp" {
  load_balancer_arn        = aws_lb.nlb.arn
  port                     = 80
  protocol                 = "TCP"
  tcp_idle_timeout_seconds = local.c ? 60 : 350
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.tcp["TCP"].arn
  }
}
resource "aws_lb_listener" "udp" {
  load_balancer_arn = aws_lb.nlb.arn
  port              = 514
  protocol          = "UDP"
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.tcp["UDP"].arn
  }
}
resource "aws_lb_listener" "tcpudp" {
  load_balancer_arn = aws_lb.nlb.arn
  port              = 53
  protocol          = "TCP_UDP"
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.tcp["TCP_UDP"].arn
  }
}
resource "aws_lb_listener" "tls" {
  load_balancer_arn = aws_lb.nlb.arn
  port              = 443
  protocol          = "TLS"
  ssl_policy        = "ELBSecurityPolicy-2016-08"
  certificate_arn   = aws_acm_certificate_validation.a.certificate_arn
  alpn_policy       = local.c ? "HTTP2Optional" : "HTTP2Preferred"
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.tcp["TLS"].arn
  }
}
resource "aws_lb_listener" "alb" {
  load_balancer_arn = aws_lb.nlb.arn
  port              = 8000
  protocol          = "TCP"
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.alb.arn
  }
}
resource "aws_lb_listener_rule" "many" {
  listener_arn = aws_lb_listener.http.arn
  priority     = 100
  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.wr.arn
  }
  condition {
    http_header {
      http_header_name = "X-Forwarded-For"
      values           = [local.c ? "192.168.2.*" : "192.168.1.*"]
    }
  }
  condition {
    source_ip { values = [local.c ? "192.168.0.0/24" : "192.168.0.0/16"] }
  }
  condition {
    http_request_method { values = [local.c ? "POST" : "GET"] }
  }
  condition {
    path_pattern { values = [local.c ? "/public/2/*" : "/public/*"] }
  }
  condition {
    host_header { values = ["example.com"] }
  }
}
resource "aws_lb_listener_rule" "v6" {
  listener_arn = aws_lb_listener.http.arn
  priority     = local.c ? 201 : 101
  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.wr.arn
  }
  condition {
    source_ip { values = ["dead:cafe::/64", "192.168.0.0/16"] }
  }
}
resource "aws_lb_listener_rule" "qs" {
  listener_arn = aws_lb_listener.http.arn
  priority     = local.c ? 202 : 40
  action {
    type = "redirect"
    redirect {
      port        = "443"
      protocol    = "HTTPS"
      status_code = "HTTP_302"
      query       = local.c ? "" : "param1=value1"
    }
  }
  condition {
    query_string { value = "wonder" }
    query_string {
      key   = ""
      value = "keyless"
    }
  }
  condition {
    query_string {
      key   = "foo"
      value = "bar"
    }
    query_string {
      key   = "foo"
      value = "baz"
    }
  }
}
resource "aws_lb_listener_rule" "hdr" {
  listener_arn = aws_lb_listener.http.arn
  action {
    type = "fixed-response"
    fixed_response {
      content_type = "text/plain"
      message_body = "here"
      status_code  = "200"
    }
  }
  condition {
    http_header {
      http_header_name = "X-Forwarded-For"
      values           = ["192.168.1.*", "10.0.0.*"]
    }
  }
  condition {
    http_header {
      http_header_name = "Zz9~|_^.-+*'&%$#!0aA"
      values           = ["any"]
    }
  }
}
data "aws_lb" "d" { arn = aws_lb.nlb.arn }
data "aws_lb_target_group" "d" { arn = aws_lb_target_group.basic.arn }
data "aws_lb_listener" "d" { arn = aws_lb_listener.https.arn }
data "aws_lbs" "d" { depends_on = [aws_lb.nlb] }
data "aws_lb_hosted_zone_id" "d" {}
