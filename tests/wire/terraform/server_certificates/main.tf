terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "endpoint" {}
variable "access_key" { type = string }
variable "body" {}
variable "key" {}
variable "other" {}
variable "other_key" {}
variable "changed" {
  type    = bool
  default = false
}

provider "aws" {
  region                      = "us-east-1"
  access_key                  = var.access_key
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
  default_tags { tags = { project = "site" } }
  endpoints {
    ec2   = var.endpoint
    elbv2 = var.endpoint
    iam   = var.endpoint
    sts   = var.endpoint
  }
}

resource "aws_vpc" "main" { cidr_block = "10.0.0.0/16" }

resource "aws_subnet" "zone" {
  count             = 2
  vpc_id            = aws_vpc.main.id
  cidr_block        = cidrsubnet(aws_vpc.main.cidr_block, 8, count.index)
  availability_zone = "us-east-1${["a", "b"][count.index]}"
}

resource "aws_iam_server_certificate" "site" {
  name             = "site"
  path             = "/front/"
  certificate_body = var.body
  private_key      = var.key
  tags             = { stage = var.changed ? "two" : "one" }
}

resource "aws_iam_server_certificate" "other" {
  name_prefix      = "other-"
  certificate_body = var.changed ? var.body : var.other
  private_key      = var.changed ? var.key : var.other_key
  lifecycle { create_before_destroy = true }
}

data "aws_iam_server_certificate" "site" {
  name       = aws_iam_server_certificate.site.name
  depends_on = [aws_iam_server_certificate.site]
}

resource "aws_lb" "web" {
  name     = "web"
  internal = true
  subnets  = aws_subnet.zone[*].id
}

resource "aws_lb" "net" {
  name               = "net"
  internal           = true
  load_balancer_type = "network"
  subnets            = aws_subnet.zone[*].id
}

resource "aws_lb_target_group" "net" {
  name     = "net"
  port     = 80
  protocol = "TCP"
  vpc_id   = aws_vpc.main.id
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.web.arn
  port              = 443
  protocol          = "HTTPS"
  certificate_arn   = aws_iam_server_certificate.other.arn
  default_action {
    type = "fixed-response"
    fixed_response {
      content_type = "text/plain"
      status_code  = "200"
    }
  }
}

resource "aws_lb_listener_certificate" "site" {
  listener_arn    = aws_lb_listener.https.arn
  certificate_arn = aws_iam_server_certificate.site.arn
}

resource "aws_lb_listener" "tls" {
  load_balancer_arn = aws_lb.net.arn
  port              = 443
  protocol          = "TLS"
  certificate_arn   = aws_iam_server_certificate.other.arn
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.net.arn
  }
}

output "expiration" { value = data.aws_iam_server_certificate.site.expiration_date }
