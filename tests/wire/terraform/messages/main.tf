terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "endpoint" {}
variable "changed" {
  type    = bool
  default = false
}

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "210987654332"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  s3_use_path_style           = true
  default_tags { tags = { project = "messages" } }
  endpoints {
    ec2         = var.endpoint
    elbv2       = var.endpoint
    eventbridge = var.endpoint
    iam         = var.endpoint
    kinesis     = var.endpoint
    kms         = var.endpoint
    route53     = var.endpoint
    s3          = var.endpoint
    sns         = var.endpoint
    sqs         = var.endpoint
    sts         = var.endpoint
  }
}

resource "aws_sqs_queue" "dead" {
  name                      = "orders-dead"
  message_retention_seconds = 1209600
}

resource "aws_sqs_queue" "orders" {
  name                       = "orders"
  visibility_timeout_seconds = var.changed ? 60 : 30
  receive_wait_time_seconds  = 10
  sqs_managed_sse_enabled    = true
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead.arn
    maxReceiveCount     = var.changed ? 5 : 3
  })
}

resource "aws_sqs_queue_redrive_allow_policy" "dead" {
  queue_url = aws_sqs_queue.dead.id
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.orders.arn]
  })
}

resource "aws_sqs_queue" "fifo" {
  name                        = "orders.fifo"
  fifo_queue                  = true
  content_based_deduplication = true
  deduplication_scope         = "messageGroup"
  fifo_throughput_limit       = "perMessageGroupId"
}

data "aws_iam_policy_document" "orders" {
  statement {
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.orders.arn]
    principals {
      type        = "Service"
      identifiers = var.changed ? ["sns.amazonaws.com", "events.amazonaws.com"] : ["sns.amazonaws.com"]
    }
    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [aws_sns_topic.orders.arn]
    }
  }
}

resource "aws_sqs_queue_policy" "orders" {
  queue_url = aws_sqs_queue.orders.id
  policy    = data.aws_iam_policy_document.orders.json
}

resource "aws_kms_key" "topics" { deletion_window_in_days = 7 }

resource "aws_sns_topic" "orders" {
  name              = "orders"
  display_name      = var.changed ? "Orders, two" : "Orders"
  kms_master_key_id = aws_kms_key.topics.arn
  delivery_policy = jsonencode({
    http = {
      defaultHealthyRetryPolicy    = { minDelayTarget = 20, maxDelayTarget = 20, numRetries = 3 }
      disableSubscriptionOverrides = false
    }
  })
}

resource "aws_sns_topic" "fifo" {
  name                        = "orders.fifo"
  fifo_topic                  = true
  content_based_deduplication = true
}

resource "aws_sns_topic_policy" "orders" {
  arn = aws_sns_topic.orders.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "buckets"
      Effect    = "Allow"
      Principal = { Service = "s3.amazonaws.com" }
      Action    = "SNS:Publish"
      Resource  = aws_sns_topic.orders.arn
    }]
  })
}

resource "aws_sns_topic_subscription" "orders" {
  topic_arn            = aws_sns_topic.orders.arn
  protocol             = "sqs"
  endpoint             = aws_sqs_queue.orders.arn
  raw_message_delivery = true
  filter_policy        = jsonencode({ kind = var.changed ? ["order", "refund"] : ["order"] })
  redrive_policy       = jsonencode({ deadLetterTargetArn = aws_sqs_queue.dead.arn })
}

resource "aws_sns_topic_subscription" "bodies" {
  topic_arn           = aws_sns_topic.orders.arn
  protocol            = "sqs"
  endpoint            = aws_sqs_queue.dead.arn
  filter_policy_scope = "MessageBody"
  filter_policy       = jsonencode({ price = [{ numeric = [">=", 100] }] })
}

resource "aws_sns_topic_subscription" "fifo" {
  topic_arn = aws_sns_topic.fifo.arn
  protocol  = "sqs"
  endpoint  = aws_sqs_queue.fifo.arn
}

resource "aws_s3_bucket" "uploads" {
  bucket        = "messages-uploads"
  force_destroy = true
}

resource "aws_s3_bucket_notification" "uploads" {
  depends_on = [aws_sqs_queue_policy.orders, aws_sns_topic_policy.orders]
  bucket     = aws_s3_bucket.uploads.id
  queue {
    id            = "images"
    queue_arn     = aws_sqs_queue.orders.arn
    events        = var.changed ? ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"] : ["s3:ObjectCreated:*"]
    filter_prefix = "images/"
    filter_suffix = ".jpg"
  }
  topic {
    topic_arn     = aws_sns_topic.orders.arn
    events        = ["s3:ObjectRemoved:Delete"]
    filter_prefix = "orders/"
  }
}

resource "aws_cloudwatch_event_bus" "shop" { name = "shop" }

resource "aws_cloudwatch_event_rule" "orders" {
  name           = "orders"
  description    = var.changed ? "two" : "one"
  event_bus_name = aws_cloudwatch_event_bus.shop.name
  event_pattern  = jsonencode({ source = ["shop"], detail-type = ["order"] })
}

resource "aws_cloudwatch_event_target" "orders" {
  rule           = aws_cloudwatch_event_rule.orders.name
  event_bus_name = aws_cloudwatch_event_bus.shop.name
  target_id      = "queue"
  arn            = aws_sqs_queue.orders.arn
  input_transformer {
    input_paths    = { id = "$.detail.id" }
    input_template = "{\"order\": <id>}"
  }
}

resource "aws_cloudwatch_event_rule" "nightly" {
  name                = "nightly"
  schedule_expression = var.changed ? "cron(0 3 * * ? *)" : "rate(1 day)"
  state               = var.changed ? "DISABLED" : "ENABLED"
}

resource "aws_kinesis_stream" "clicks" {
  name             = "clicks"
  shard_count      = 2
  retention_period = var.changed ? 72 : 48
  encryption_type  = "KMS"
  kms_key_id       = aws_kms_key.topics.arn
}

resource "aws_vpc" "main" {
  cidr_block           = "10.0.0.0/16"
  enable_dns_hostnames = true
}

resource "aws_subnet" "zone" {
  count             = 2
  vpc_id            = aws_vpc.main.id
  cidr_block        = cidrsubnet(aws_vpc.main.cidr_block, 8, count.index)
  availability_zone = "us-east-1${["a", "b"][count.index]}"
}

resource "aws_lb" "web" {
  name               = "messages"
  internal           = true
  load_balancer_type = "application"
  subnets            = aws_subnet.zone[*].id
}

resource "aws_route53_zone" "public" {
  name          = "messages.example"
  comment       = var.changed ? "two" : "one"
  force_destroy = true
}

resource "aws_route53_zone" "private" {
  name = "internal.example"
  vpc { vpc_id = aws_vpc.main.id }
}

resource "aws_route53_record" "web" {
  zone_id = aws_route53_zone.public.zone_id
  name    = "www.messages.example"
  type    = "A"
  alias {
    name                   = aws_lb.web.dns_name
    zone_id                = aws_lb.web.zone_id
    evaluate_target_health = var.changed
  }
}

resource "aws_route53_health_check" "web" {
  fqdn              = "www.messages.example"
  port              = 443
  type              = "HTTPS"
  resource_path     = "/health"
  failure_threshold = var.changed ? 5 : 3
  request_interval  = 30
}

resource "aws_route53_record" "weighted" {
  for_each        = { blue = 90, green = 10 }
  zone_id         = aws_route53_zone.public.zone_id
  name            = "api"
  type            = "CNAME"
  ttl             = 60
  set_identifier  = each.key
  records         = ["${each.key}.messages.example"]
  health_check_id = each.key == "blue" ? aws_route53_health_check.web.id : null
  weighted_routing_policy { weight = var.changed ? 50 : each.value }
}

resource "aws_route53_record" "where" {
  for_each       = { eu = "EU", other = "*" }
  zone_id        = aws_route53_zone.public.zone_id
  name           = "geo"
  type           = "A"
  ttl            = 60
  set_identifier = each.key
  records        = ["198.18.0.1"]
  geolocation_routing_policy {
    continent = each.value == "EU" ? "EU" : null
    country   = each.value == "*" ? "*" : null
  }
}

resource "aws_route53_record" "text" {
  zone_id = aws_route53_zone.public.zone_id
  name    = ""
  type    = "TXT"
  ttl     = 300
  records = ["v=spf1 -all", "quoted \"text\" ${var.changed}"]
}

resource "aws_route53_record" "mail" {
  zone_id = aws_route53_zone.public.zone_id
  name    = "messages.example"
  type    = "MX"
  ttl     = 300
  records = ["10 mail.messages.example", "20 mail2.messages.example"]
}

resource "aws_iam_user" "ci" {
  name          = "ci"
  path          = "/robots/"
  force_destroy = true
}

resource "aws_iam_access_key" "ci" {
  user   = aws_iam_user.ci.name
  status = var.changed ? "Inactive" : "Active"
}

resource "aws_iam_group" "robots" { name = "robots" }

resource "aws_iam_group_membership" "robots" {
  name  = "robots"
  group = aws_iam_group.robots.name
  users = [aws_iam_user.ci.name]
}

resource "aws_iam_group_policy_attachment" "robots" {
  group      = aws_iam_group.robots.name
  policy_arn = var.changed ? "arn:aws:iam::aws:policy/ReadOnlyAccess" : "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
}

resource "aws_iam_user_policy" "ci" {
  name   = "ci"
  user   = aws_iam_user.ci.name
  policy = jsonencode({ Version = "2012-10-17", Statement = [{ Effect = "Allow", Action = "sts:*", Resource = "*" }] })
}

resource "aws_iam_policy" "limit" {
  name        = "limit"
  description = "what roles may be"
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = var.changed ? ["s3:*", "sqs:*"] : ["s3:*"], Resource = "*" }]
  })
}

resource "aws_iam_role" "web" {
  name                 = "messages-web"
  path                 = "/apps/"
  max_session_duration = var.changed ? 7200 : 3600
  permissions_boundary = aws_iam_policy.limit.arn
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Principal = { Service = "ec2.amazonaws.com" }, Action = "sts:AssumeRole" }]
  })
}

resource "aws_iam_instance_profile" "web" {
  name = "messages-web"
  path = "/apps/"
  role = aws_iam_role.web.name
}

resource "aws_iam_role_policies_exclusive" "web" {
  role_name    = aws_iam_role.web.name
  policy_names = []
}

resource "aws_iam_openid_connect_provider" "ci" {
  url             = "https://token.ci.example"
  client_id_list  = var.changed ? ["sts.amazonaws.com", "two"] : ["sts.amazonaws.com"]
  thumbprint_list = ["6938fd4d98bab03faadb97b34396831e3780aea1"]
}

resource "aws_iam_service_linked_role" "scaling" {
  aws_service_name = "autoscaling.amazonaws.com"
  custom_suffix    = "web"
  description      = var.changed ? "two" : "one"
}

resource "aws_iam_account_password_policy" "strict" {
  minimum_password_length = var.changed ? 16 : 12
  require_numbers         = true
}

resource "aws_iam_account_alias" "alias" { account_alias = "messages-account" }
