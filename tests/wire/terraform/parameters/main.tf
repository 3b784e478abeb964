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
    ec2 = "http://127.0.0.1:${var.port}"
    ssm = "http://127.0.0.1:${var.port}"
    sts = "http://127.0.0.1:${var.port}"
  }
}

resource "aws_ssm_parameter" "plain" {
  name            = "/app/url"
  type            = "String"
  value           = var.changed ? "http://two" : "http://one"
  description     = var.changed ? null : "where"
  allowed_pattern = "^http.*"
  tags            = { team = var.changed ? "b" : "a" }
}

resource "aws_ssm_parameter" "root" {
  name           = "root"
  type           = "String"
  insecure_value = var.changed ? "b" : "a"
}

resource "aws_ssm_parameter" "list" {
  name  = "/app/list"
  type  = "StringList"
  value = "a,b,c"
}

resource "aws_ssm_parameter" "typed" {
  name  = "/app/typed"
  type  = var.changed ? "String" : "SecureString"
  value = "hidden"
}

resource "aws_ssm_parameter" "advanced" {
  name  = "/app/advanced"
  type  = "String"
  value = "x"
  tier  = var.changed ? "Standard" : "Advanced"
}

resource "aws_ssm_parameter" "intelligent" {
  name  = "/app/intelligent"
  type  = "String"
  value = var.changed ? format("%5000s", "x") : "x"
  tier  = "Intelligent-Tiering"
}

resource "aws_ssm_parameter" "image" {
  name      = "/app/image"
  type      = "String"
  data_type = "aws:ec2:image"
  value     = data.aws_ssm_parameter.linux.insecure_value
}

resource "aws_ssm_document" "command" {
  name          = "greet"
  document_type = "Command"
  target_type   = var.changed ? "/AWS::EC2::Instance" : "/"
  content = jsonencode({
    schemaVersion = "2.2"
    description   = "says hello"
    parameters    = { who = { type = "String", default = "world" } }
    mainSteps = [
      { action = "aws:runShellScript", name = "hello", inputs = { runCommand = ["echo hello {{ who }}"] } }
    ]
  })
  permissions = {
    type        = "Share"
    account_ids = var.changed ? "123456789012" : "123456789012,123456789013"
  }
  tags = { team = var.changed ? "b" : "a" }
}

resource "aws_ssm_document" "old" {
  name          = "old"
  document_type = "Command"
  content       = <<DOC
{
  "schemaVersion": "1.2",
  "description": "as at the beginning",
  "parameters": {},
  "runtimeConfig": {"aws:runShellScript": {"properties": [{"id": "0.aws:runShellScript", "runCommand": ["id"]}]}}
}
DOC
}

resource "aws_ssm_document" "yaml" {
  name            = "yaml"
  document_type   = "Command"
  document_format = "YAML"
  version_name    = var.changed ? "release-2" : "release-1"
  content         = <<DOC
schemaVersion: '2.2'
description: of ${var.changed ? "today" : "yesterday"}
mainSteps:
- action: aws:runPowerShellScript
  name: shell
  inputs:
    runCommand:
    - hostname
DOC
}

resource "aws_ssm_document" "preferences" {
  name          = "SSM-SessionManagerRunShell"
  document_type = "Session"
  content = jsonencode({
    schemaVersion = "1.0"
    description   = "preferences"
    sessionType   = "Standard_Stream"
    inputs = {
      s3BucketName                = ""
      cloudWatchLogGroupName      = ""
      cloudWatchEncryptionEnabled = true
      kmsKeyId                    = ""
      runAsEnabled                = false
      runAsDefaultUser            = ""
      idleSessionTimeout          = var.changed ? "30" : "20"
      maxSessionDuration          = ""
      shellProfile                = { windows = "", linux = "cd /" }
    }
  })
}

resource "aws_ssm_service_setting" "tier" {
  setting_id    = "arn:aws:ssm:us-east-1:${var.access_key}:servicesetting/ssm/parameter-store/high-throughput-enabled"
  setting_value = var.changed ? "true" : "false"
}

data "aws_ssm_parameter" "linux" {
  name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
}

data "aws_ssm_parameter" "typed" {
  name = aws_ssm_parameter.typed.arn
}

data "aws_ssm_parameters_by_path" "all" {
  path       = "/app"
  depends_on = [aws_ssm_parameter.plain, aws_ssm_parameter.list]
}

data "aws_ssm_document" "shell" {
  name            = "AWS-RunShellScript"
  document_format = "YAML"
}

data "aws_ssm_instances" "linux" {
  filter {
    name   = "PlatformTypes"
    values = ["Linux"]
  }
}
