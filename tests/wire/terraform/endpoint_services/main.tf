# A service behind a network load balancer, and an endpoint of another network with the same addresses.

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

resource "aws_vpc" "side" {
  for_each   = toset(["provider", "consumer"])
  cidr_block = "10.0.0.0/16"
}

resource "aws_subnet" "side" {
  for_each          = aws_vpc.side
  vpc_id            = each.value.id
  cidr_block        = "10.0.1.0/24"
  availability_zone = "us-east-1a"
}

resource "aws_lb" "inner" {
  name               = "inner"
  internal           = true
  load_balancer_type = "network"
  subnets            = [aws_subnet.side["provider"].id]
}

resource "aws_vpc_endpoint_service" "inner" {
  acceptance_required        = true
  network_load_balancer_arns = [aws_lb.inner.arn]
  allowed_principals         = var.changed ? ["arn:aws:iam::123456789012:root", "*"] : ["*"]
  tags                       = { Name = "inner" }
}

resource "aws_security_group" "endpoint" {
  vpc_id = aws_vpc.side["consumer"].id
}

resource "aws_vpc_endpoint" "inner" {
  vpc_id             = aws_vpc.side["consumer"].id
  service_name       = aws_vpc_endpoint_service.inner.service_name
  vpc_endpoint_type  = "Interface"
  subnet_ids         = [aws_subnet.side["consumer"].id]
  security_group_ids = [aws_security_group.endpoint.id]
}

resource "aws_vpc_endpoint_connection_accepter" "inner" {
  vpc_endpoint_service_id = aws_vpc_endpoint_service.inner.id
  vpc_endpoint_id         = aws_vpc_endpoint.inner.id
}
