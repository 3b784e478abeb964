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

variable "certificate" { type = string }

variable "private_key" { type = string }

variable "chain" { type = string }

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
  endpoints {
    acm = "http://127.0.0.1:${var.port}"
    sts = "http://127.0.0.1:${var.port}"
  }
  default_tags { tags = { project = "gureum" } }
}
resource "aws_acm_certificate" "asked" {
  domain_name               = "shop.example.com"
  subject_alternative_names = ["*.shop.example.com"]
  validation_method         = "DNS"
  key_algorithm             = "EC_prime256v1"
  options { certificate_transparency_logging_preference = var.changed ? "DISABLED" : "ENABLED" }
  lifecycle { create_before_destroy = true }
}
resource "aws_acm_certificate_validation" "asked" {
  certificate_arn         = aws_acm_certificate.asked.arn
  validation_record_fqdns = [for one in aws_acm_certificate.asked.domain_validation_options : one.resource_record_name]
}
resource "aws_acm_certificate" "imported" {
  certificate_body  = var.certificate
  private_key       = var.private_key
  certificate_chain = var.chain
  tags              = { Name = (var.changed ? "two" : "one") }
}
data "aws_acm_certificate" "asked" {
  domain     = "shop.example.com"
  key_types  = ["EC_prime256v1"]
  statuses   = ["ISSUED"]
  depends_on = [aws_acm_certificate_validation.asked]
}
