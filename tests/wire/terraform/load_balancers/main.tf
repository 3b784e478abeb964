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
  }
}

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
  vpc_id = aws_vpc.main.id
  ingress {
    from_port   = 80
    to_port     = 80
    protocol    = "tcp"
    cidr_blocks = ["0.0.0.0/0"]
  }
  egress {
    from_port   = 0
    to_port     = 0
    protocol    = "-1"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

data "aws_ami" "small" {
  most_recent = true
  owners      = ["amazon"]
  filter {
    name   = "name"
    values = ["gureum-busybox-*"]
  }
}

resource "aws_instance" "web" {
  count                  = 2
  ami                    = data.aws_ami.small.id
  instance_type          = "t3.nano"
  subnet_id              = aws_subnet.zone[count.index].id
  vpc_security_group_ids = [aws_security_group.web.id]
}

resource "aws_lb" "web" {
  name               = "web"
  load_balancer_type = "application"
  security_groups    = [aws_security_group.web.id]
  subnets            = var.changed ? aws_subnet.zone[*].id : slice(aws_subnet.zone[*].id, 0, 2)
  idle_timeout       = var.changed ? 120 : 60
  tags               = { Name = var.changed ? "two" : "one" }
  depends_on         = [aws_internet_gateway.main]
}

resource "aws_lb_target_group" "web" {
  count    = 2
  name     = "web-${count.index}"
  port     = 80
  protocol = "HTTP"
  vpc_id   = aws_vpc.main.id
  health_check {
    path     = var.changed ? "/healthz" : "/"
    interval = 10
    matcher  = "200-299"
  }
  stickiness {
    type            = "lb_cookie"
    enabled         = var.changed
    cookie_duration = 3600
  }
  deregistration_delay = 5
}

resource "aws_lb_target_group_attachment" "web" {
  count            = 2
  target_group_arn = aws_lb_target_group.web[count.index].arn
  target_id        = aws_instance.web[count.index].id
  port             = var.changed ? 8080 : 80
}

resource "aws_lb_listener" "web" {
  load_balancer_arn = aws_lb.web.arn
  port              = 80
  protocol          = "HTTP"
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.web[0].arn
  }
}

resource "aws_lb_listener" "moved" {
  load_balancer_arn = aws_lb.web.arn
  port              = 8080
  protocol          = "HTTP"
  default_action {
    type = "redirect"
    redirect {
      port        = "443"
      protocol    = "HTTPS"
      status_code = "HTTP_301"
    }
  }
}

resource "aws_lb_listener_rule" "weighted" {
  listener_arn = aws_lb_listener.web.arn
  priority     = var.changed ? 20 : 10
  condition {
    path_pattern { values = ["/api/*", "/v1/*"] }
  }
  condition {
    http_header {
      http_header_name = "X-Team"
      values           = ["blue"]
    }
  }
  action {
    type = "forward"
    forward {
      target_group {
        arn    = aws_lb_target_group.web[0].arn
        weight = var.changed ? 50 : 80
      }
      target_group {
        arn    = aws_lb_target_group.web[1].arn
        weight = 20
      }
      stickiness {
        enabled  = true
        duration = 600
      }
    }
  }
}

resource "aws_lb_listener_rule" "answer" {
  listener_arn = aws_lb_listener.web.arn
  priority     = 30
  condition {
    query_string {
      key   = "gone"
      value = "*"
    }
  }
  condition {
    source_ip { values = ["10.0.0.0/8"] }
  }
  action {
    type = "fixed-response"
    fixed_response {
      content_type = "text/plain"
      message_body = var.changed ? "gone" : "not here"
      status_code  = "410"
    }
  }
}

resource "aws_eip" "net" { domain = "vpc" }

resource "aws_lb" "net" {
  name                             = "net"
  load_balancer_type               = "network"
  enable_cross_zone_load_balancing = var.changed
  subnet_mapping {
    subnet_id     = aws_subnet.zone[0].id
    allocation_id = aws_eip.net.id
  }
  depends_on = [aws_internet_gateway.main]
}

resource "aws_lb_target_group" "dns" {
  name        = "dns"
  port        = 53
  protocol    = "TCP_UDP"
  target_type = "ip"
  vpc_id      = aws_vpc.main.id
}

resource "aws_lb_target_group_attachment" "dns" {
  target_group_arn  = aws_lb_target_group.dns.arn
  target_id         = "192.168.7.7"
  availability_zone = "all"
}

resource "aws_lb_listener" "dns" {
  load_balancer_arn = aws_lb.net.arn
  port              = 53
  protocol          = "TCP_UDP"
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.dns.arn
  }
}

data "aws_lb" "web" { arn = aws_lb.web.arn }
data "aws_lb_target_group" "dns" { arn = aws_lb_target_group.dns.arn }
data "aws_lb_listener" "web" { arn = aws_lb_listener.web.arn }

output "names" { value = [data.aws_lb.web.dns_name, aws_lb.net.dns_name] }
