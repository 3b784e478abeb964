terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "port" {}
variable "access_key" {}
variable "changed" { default = false }

provider "aws" {
  region                      = "us-east-1"
  access_key                  = var.access_key
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
  endpoints {
    ec2  = "http://127.0.0.1:${var.port}"
    logs = "http://127.0.0.1:${var.port}"
    sts  = "http://127.0.0.1:${var.port}"
  }
}

resource "aws_vpc" "net" {
  cidr_block = "10.0.0.0/16"
}

resource "aws_cloudwatch_log_group" "flows" {
  name              = "/vpc/flows"
  retention_in_days = var.changed ? 30 : 7
  tags              = { team = var.changed ? "b" : "a" }
}

resource "aws_cloudwatch_log_group" "all" {
  name = "everything"
}

resource "aws_cloudwatch_log_stream" "one" {
  name           = "one/stream"
  log_group_name = aws_cloudwatch_log_group.all.name
}

resource "aws_cloudwatch_log_metric_filter" "rejected" {
  name           = "rejected"
  log_group_name = aws_cloudwatch_log_group.flows.name
  pattern        = var.changed ? "[..., action = REJECT, status]" : "REJECT"

  metric_transformation {
    name          = "Rejected"
    namespace     = "Net"
    value         = "1"
    default_value = var.changed ? "0" : null
    unit          = "Count"
  }
}

resource "aws_cloudwatch_log_subscription_filter" "all" {
  name            = "all"
  log_group_name  = aws_cloudwatch_log_group.flows.name
  filter_pattern  = ""
  destination_arn = aws_cloudwatch_log_group.all.arn
}

resource "aws_flow_log" "group" {
  vpc_id                   = aws_vpc.net.id
  traffic_type             = "ALL"
  log_destination          = aws_cloudwatch_log_group.flows.arn
  iam_role_arn             = "arn:aws:iam::${var.access_key}:role/flow"
  max_aggregation_interval = 60
  tags                     = { Name = var.changed ? "new" : "old" }
}

resource "aws_flow_log" "files" {
  vpc_id               = aws_vpc.net.id
  traffic_type         = "REJECT"
  log_destination_type = "s3"
  log_destination      = "arn:aws:s3:::bucket/flows"
  log_format           = "$${interface-id} $${srcaddr} $${pkt-srcaddr}"

  destination_options {
    file_format                = "plain-text"
    hive_compatible_partitions = true
  }
}
