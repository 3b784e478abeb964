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
  access_key                  = "210987654333"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  s3_use_path_style           = true
  default_tags { tags = { project = "rarer" } }
  endpoints {
    dynamodb       = var.endpoint
    ec2            = var.endpoint
    ecr            = var.endpoint
    eventbridge    = var.endpoint
    iam            = var.endpoint
    kinesis        = var.endpoint
    kms            = var.endpoint
    resourcegroups = var.endpoint
    route53        = var.endpoint
    s3             = var.endpoint
    secretsmanager = var.endpoint
    ses            = var.endpoint
    sns            = var.endpoint
    sqs            = var.endpoint
    sts            = var.endpoint
  }
}

data "aws_caller_identity" "me" {}

resource "aws_iam_virtual_mfa_device" "me" { virtual_mfa_device_name = "me" }

resource "aws_iam_group" "readers" {
  name = "readers"
  path = var.changed ? "/two/" : "/"
}

resource "aws_iam_group_policy" "readers" {
  name   = "readers"
  group  = aws_iam_group.readers.name
  policy = jsonencode({ Version = "2012-10-17", Statement = [{ Effect = "Allow", Action = "s3:Get*", Resource = "*" }] })
}

resource "aws_iam_user" "reader" {
  name          = var.changed ? "reader-two" : "reader"
  force_destroy = true
}

resource "aws_iam_user_login_profile" "reader" {
  user            = aws_iam_user.reader.name
  password_length = 20
}

resource "aws_iam_user_group_membership" "reader" {
  user   = aws_iam_user.reader.name
  groups = [aws_iam_group.readers.name]
}

resource "aws_iam_user_ssh_key" "reader" {
  username   = aws_iam_user.reader.name
  encoding   = "SSH"
  public_key = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCz7c2VZ3mB0uJ4w7iWmYJt3m8V5b0m8T3nYwS7V9ZqkqJ5rG2sX1f7kq9oPqv2cZ0s1l2w3e4r5t6y7u8i9o0p me"
  status     = var.changed ? "Inactive" : "Active"
}

resource "aws_kms_key" "many" {
  multi_region            = true
  deletion_window_in_days = 7
}

resource "aws_kms_key" "mac" {
  customer_master_key_spec = "HMAC_256"
  key_usage                = "GENERATE_VERIFY_MAC"
  deletion_window_in_days  = 7
}

resource "aws_kms_key_policy" "many" {
  key_id = aws_kms_key.many.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { AWS = "arn:aws:iam::${data.aws_caller_identity.me.account_id}:root" }
      Action    = var.changed ? ["kms:*", "kms:Encrypt"] : ["kms:*"]
      Resource  = "*"
    }]
  })
}

resource "aws_kms_ciphertext" "text" {
  key_id    = aws_kms_key.many.key_id
  plaintext = "text"
}

resource "aws_kinesis_stream" "demand" {
  name = "demand"
  stream_mode_details { stream_mode = "ON_DEMAND" }
}

resource "aws_kinesis_stream_consumer" "reader" {
  name       = "reader"
  stream_arn = aws_kinesis_stream.demand.arn
}

resource "aws_sqs_queue" "main" { name_prefix = "main-" }

resource "aws_sqs_queue" "dead" { name_prefix = "dead-" }

resource "aws_sqs_queue_redrive_policy" "main" {
  queue_url      = aws_sqs_queue.main.id
  redrive_policy = jsonencode({ deadLetterTargetArn = aws_sqs_queue.dead.arn, maxReceiveCount = var.changed ? 5 : 4 })
}

resource "aws_dynamodb_table" "versions" {
  name         = "versions"
  billing_mode = "PAY_PER_REQUEST"
  table_class  = var.changed ? "STANDARD_INFREQUENT_ACCESS" : "STANDARD"
  hash_key     = "id"
  attribute {
    name = "id"
    type = "B"
  }
  on_demand_throughput { max_read_request_units = 10 }
}

resource "aws_dynamodb_resource_policy" "versions" {
  resource_arn = aws_dynamodb_table.versions.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { AWS = "arn:aws:iam::${data.aws_caller_identity.me.account_id}:root" }
      Action    = "dynamodb:GetItem"
      Resource  = aws_dynamodb_table.versions.arn
    }]
  })
}

resource "aws_ecr_registry_policy" "all" {
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "all"
      Effect    = "Allow"
      Principal = { AWS = "arn:aws:iam::111122223333:root" }
      Action    = ["ecr:ReplicateImage"]
      Resource  = ["arn:aws:ecr:us-east-1:${data.aws_caller_identity.me.account_id}:repository/*"]
    }]
  })
}

resource "aws_ecr_replication_configuration" "all" {
  replication_configuration {
    rule {
      destination {
        region      = var.changed ? "eu-central-1" : "eu-west-1"
        registry_id = data.aws_caller_identity.me.account_id
      }
    }
  }
}

resource "aws_cloudwatch_event_bus" "main" { name = "main" }

resource "aws_cloudwatch_event_archive" "main" {
  name             = "main"
  event_source_arn = aws_cloudwatch_event_bus.main.arn
  retention_days   = var.changed ? 20 : 10
}

resource "aws_cloudwatch_event_permission" "other" {
  principal      = "111122223333"
  statement_id   = "other"
  event_bus_name = aws_cloudwatch_event_bus.main.name
}

resource "aws_cloudwatch_event_connection" "web" {
  name               = "web"
  authorization_type = "API_KEY"
  auth_parameters {
    api_key {
      key   = "x-key"
      value = var.changed ? "two" : "one"
    }
  }
}

resource "aws_cloudwatch_event_api_destination" "web" {
  name                             = "web"
  invocation_endpoint              = "https://example.com/hook"
  http_method                      = "POST"
  invocation_rate_limit_per_second = var.changed ? 20 : 10
  connection_arn                   = aws_cloudwatch_event_connection.web.arn
}

resource "aws_ses_domain_identity" "main" { domain = "rarer.example" }

resource "aws_ses_domain_dkim" "main" { domain = aws_ses_domain_identity.main.domain }

resource "aws_ses_email_identity" "me" { email = "me@rarer.example" }

resource "aws_ses_template" "hello" {
  name    = "hello"
  subject = var.changed ? "two" : "one"
  text    = "hello {{name}}"
}

resource "aws_ses_configuration_set" "main" { name = "main" }

resource "aws_resourcegroups_group" "all" {
  name        = "all"
  description = var.changed ? "two" : "one"
  resource_query {
    query = jsonencode({ ResourceTypeFilters = ["AWS::EC2::Instance"], TagFilters = [{ Key = "project", Values = ["rarer"] }] })
  }
}

resource "aws_route53_delegation_set" "main" { reference_name = "main" }

resource "aws_route53_zone" "delegated" {
  name              = "rarer.example"
  delegation_set_id = aws_route53_delegation_set.main.id
}

resource "aws_route53_zone" "private" {
  name = "rarer.internal"
  vpc { vpc_id = aws_vpc.net[0].id }
  lifecycle { ignore_changes = [vpc] }
}

resource "aws_vpc" "net" {
  count      = 2
  cidr_block = "10.${count.index}.0.0/16"
}

resource "aws_route53_zone_association" "second" {
  zone_id = aws_route53_zone.private.zone_id
  vpc_id  = aws_vpc.net[1].id
}

resource "aws_route53_record" "latency" {
  zone_id        = aws_route53_zone.delegated.zone_id
  name           = "near"
  type           = "AAAA"
  ttl            = var.changed ? 60 : 30
  set_identifier = "eu"
  records        = ["2001:db8::1"]
  latency_routing_policy { region = "eu-west-1" }
}

resource "aws_route53_record" "failover" {
  for_each        = { PRIMARY = "198.18.0.1", SECONDARY = "198.18.0.2" }
  zone_id         = aws_route53_zone.delegated.zone_id
  name            = "fail"
  type            = "A"
  ttl             = 60
  set_identifier  = each.key
  records         = [each.value]
  health_check_id = aws_route53_health_check.fail.id
  failover_routing_policy { type = each.key }
}

resource "aws_route53_health_check" "fail" {
  ip_address        = "198.18.0.1"
  port              = 80
  type              = "TCP"
  failure_threshold = 3
  request_interval  = 10
}

resource "aws_route53_record" "wild" {
  zone_id = aws_route53_zone.delegated.zone_id
  name    = "*.wild"
  type    = "SRV"
  ttl     = 60
  records = ["1 2 80 a.rarer.example"]
}

resource "aws_route53_record" "caa" {
  zone_id = aws_route53_zone.delegated.zone_id
  name    = ""
  type    = "CAA"
  ttl     = 60
  records = ["0 issue \"example.com\""]
}

resource "aws_secretsmanager_secret" "prefix" {
  name_prefix             = "rarer-"
  recovery_window_in_days = 0
}

resource "aws_secretsmanager_secret_version" "binary" {
  secret_id      = aws_secretsmanager_secret.prefix.id
  secret_binary  = base64encode(var.changed ? "two" : "one")
  version_stages = var.changed ? ["AWSCURRENT", "blue"] : ["AWSCURRENT"]
}

resource "aws_sns_topic" "main" { name_prefix = "main-" }

resource "aws_sns_topic_data_protection_policy" "main" {
  count  = 0
  arn    = aws_sns_topic.main.arn
  policy = "{}"
}

resource "aws_s3_bucket" "main" {
  bucket_prefix = "rarer-"
  force_destroy = true
}

resource "aws_s3_object" "encrypted" {
  bucket                 = aws_s3_bucket.main.id
  key                    = "a/b c+d.txt"
  content                = "text"
  server_side_encryption = "aws:kms"
  kms_key_id             = aws_kms_key.many.arn
  storage_class          = var.changed ? "STANDARD_IA" : "STANDARD"
}

resource "aws_s3_object_copy" "copy" {
  bucket = aws_s3_bucket.main.id
  key    = "copy.txt"
  source = "${aws_s3_bucket.main.id}/${aws_s3_object.encrypted.key}"
}

resource "aws_s3_bucket_accelerate_configuration" "main" {
  bucket = aws_s3_bucket.main.id
  status = var.changed ? "Suspended" : "Enabled"
}
