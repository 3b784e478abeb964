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
    cloudwatch = "http://127.0.0.1:${var.port}"
    ec2        = "http://127.0.0.1:${var.port}"
    logs       = "http://127.0.0.1:${var.port}"
    sts        = "http://127.0.0.1:${var.port}"
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

resource "aws_cloudwatch_log_resource_policy" "delivery" {
  policy_name = "delivery"
  policy_document = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "delivery.logs.amazonaws.com" }
      Action    = var.changed ? ["logs:CreateLogStream", "logs:PutLogEvents"] : ["logs:PutLogEvents"]
      Resource  = "${aws_cloudwatch_log_group.flows.arn}:*"
    }]
  })
}

resource "aws_cloudwatch_metric_alarm" "rejected" {
  alarm_name          = "rejected"
  comparison_operator = "GreaterThanThreshold"
  evaluation_periods  = 3
  datapoints_to_alarm = var.changed ? 2 : 3
  threshold           = 1
  treat_missing_data  = "notBreaching"

  metric_query {
    id          = "rate"
    expression  = "IF(rejected > 0, rejected / PERIOD(rejected), 0)"
    label       = "Refused packets a second"
    return_data = true
  }

  metric_query {
    id = "rejected"
    metric {
      namespace   = "Net"
      metric_name = aws_cloudwatch_log_metric_filter.rejected.metric_transformation[0].name
      period      = 60
      stat        = "Sum"
    }
  }
}

resource "aws_cloudwatch_dashboard" "net" {
  dashboard_name = "net"
  dashboard_body = jsonencode({
    widgets = [{
      type       = "metric"
      x          = 0
      y          = 0
      width      = var.changed ? 24 : 12
      height     = 6
      properties = { metrics = [["Net", "Rejected"]], region = "us-east-1", stat = "Sum", period = 60 }
    }]
  })
}
