# No provider: what is decided here needs no cloud.
terraform {
  required_version = ">= 1.9"
}
