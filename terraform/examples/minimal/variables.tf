variable "project" {
  description = "The project's id."
  type        = string
}

variable "project_number" {
  description = "The project's number."
  type        = string
}

variable "region" {
  description = "The region."
  type        = string
}

variable "image" {
  description = "The image to run; null until it is pushed and the secrets have their values."
  type        = string
  default     = null
}

variable "upstream_url" {
  description = "Your service."
  type        = string
}

variable "upstream_identity" {
  description = "For a private upstream: its Cloud Run service, and the header that the identity token goes into."
  type        = any
  default     = null
}

variable "sign_in" {
  description = "Who comes in by the door."
  type        = any
  default     = null
}

variable "slack" {
  description = "Whether Slack's requests are taken."
  type        = bool
  default     = false
}

variable "notification_channels" {
  description = "Who is told of an alert."
  type        = list(string)
  default     = []
}
