# What the module environment takes is handed on to it, and checked there.

variable "name" {
  description = "Names everything; the deterministic URL begins with it."
  type        = string
  default     = "lockgate"
  nullable    = false
}

variable "project" {
  description = "The project's id."
  type        = string
  nullable    = false
}

variable "project_number" {
  description = "The project's number, which is part of the deterministic URL: gcloud projects describe PROJECT --format='value(projectNumber)'."
  type        = string
  nullable    = false
}

variable "region" {
  description = "The region of the service and of the image repository."
  type        = string
  nullable    = false
}

variable "public_url" {
  description = "How the world reaches the service, where a domain of yours leads to it; its deterministic URL by default."
  type        = string
  default     = null
}

variable "upstream_url" {
  description = "Your service: where requests go that were let in."
  type        = string
  nullable    = false
}

variable "upstream_identity" {
  description = "Sends a Google identity token of the running account with each request to the upstream; null for none. The audience is the upstream's URL by default. The header is authorization, or x-serverless-authorization where the caller's own Authorization must reach the upstream. `service` is the upstream's Cloud Run service, whose run.invoker the running account is given; in the same region and project unless it says otherwise."
  type = object({
    audience = optional(string)
    header   = optional(string, "authorization")
    service = optional(object({
      name     = string
      location = optional(string)
      project  = optional(string)
    }))
  })
  default = null
}

variable "sign_in" {
  description = "Who comes in by the door; null leaves it closed. `provider` is for people, `service_accounts` and `google_client_ids` for programs with Google's tokens; `email_domains` says who of the people, [\"*\"] everyone who signs in. `assertion` adds a signed statement of who it is for the upstream."
  type = object({
    provider = optional(object({
      issuer    = optional(string, "https://accounts.google.com")
      client_id = string
    }))
    email_domains     = optional(list(string), [])
    service_accounts  = optional(list(string), [])
    google_client_ids = optional(list(string), [])
    assertion         = optional(bool, false)
  })
  default = null
}

variable "log" {
  description = "Whether requests can be stored and played back; needed for Slack, /wal and /zapier."
  type        = bool
  default     = true
  nullable    = false
}

variable "slack" {
  description = "Whether Slack's requests are taken, at /slack."
  type        = bool
  default     = false
  nullable    = false
}

variable "cpu" {
  description = "Processors of an instance; Envoy has as many workers."
  type        = number
  default     = 1
  nullable    = false
}

variable "environment" {
  description = "Further variables of the container, for example LOCKGATE_CONFIG and what a configuration of your own reads. No secrets: those go into `secrets`."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "secrets" {
  description = "Further secrets, by the variable that a configuration of your own reads them from, for example WEBHOOK_KEY."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "image" {
  description = "The image to run, best by its digest: REGION-docker.pkg.dev/PROJECT/REPOSITORY/lockgate@sha256:…. Null makes everything but the service, so that the image and the secrets' values can be put into place first."
  type        = string
  default     = null

  validation {
    condition     = var.image == null || can(regex("^[a-z0-9.-]+(/[a-z0-9._-]+)+(:[A-Za-z0-9._-]+|@sha256:[0-9a-f]{64})$", var.image))
    error_message = "image: with its registry and a tag or digest, for example europe-west1-docker.pkg.dev/my-project/lockgate/lockgate@sha256:…."
  }
}

variable "memory" {
  description = "Memory of an instance."
  type        = string
  default     = "512Mi"
  nullable    = false

  validation {
    condition     = can(regex("^[1-9][0-9]*Gi$", var.memory)) || try(tonumber(trimsuffix(var.memory, "Mi")) >= 512, false)
    error_message = "memory: at least 512Mi, since the filters' requests may take 256 MiB, for example 512Mi or 1Gi."
  }
}

variable "min_instances" {
  description = "Instances that are kept while nobody asks; 0 costs nothing, and a start when somebody does."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.min_instances >= 0 && floor(var.min_instances) == var.min_instances
    error_message = "min_instances: 0 or more."
  }
}

variable "max_instances" {
  description = "Most instances at a time."
  type        = number
  default     = 10
  nullable    = false

  validation {
    condition     = var.max_instances >= max(1, var.min_instances) && floor(var.max_instances) == var.max_instances
    error_message = "max_instances: 1 or more, and no less than min_instances."
  }
}

variable "concurrency" {
  description = "Most requests at a time in one instance. A playback holds its place for as long as the upstream takes."
  type        = number
  default     = 200
  nullable    = false

  validation {
    condition     = var.concurrency >= 1 && var.concurrency <= 1000 && floor(var.concurrency) == var.concurrency
    error_message = "concurrency: 1 to 1000."
  }
}

variable "invokers" {
  description = "Whom Cloud Run itself lets through to the filters. Slack and people bring no Google token, so everybody by default: the filters are the door."
  type        = set(string)
  default     = ["allUsers"]
  nullable    = false

  validation {
    condition     = alltrue([for member in var.invokers : can(regex("^(allUsers|allAuthenticatedUsers|(user|group|serviceAccount|domain|principal|principalSet):\\S+)$", member))])
    error_message = "invokers: IAM members, for example allUsers or group:team@example.com."
  }
}

variable "alerts" {
  description = "Alert when a dead letter is there, when the oldest stored request is older than `oldest_message` seconds, and when more than `server_errors` requests in five minutes are answered 5xx; null for none."
  type = object({
    oldest_message = optional(number, 3600)
    server_errors  = optional(number, 10)
  })
  default = {}

  validation {
    condition     = var.alerts == null || try(var.alerts.oldest_message >= 60 && var.alerts.server_errors >= 0, false)
    error_message = "alerts: oldest_message of at least 60 seconds, server_errors of at least 0; null for no alerts."
  }
}

variable "notification_channels" {
  description = "Who is told of an alert, as projects/PROJECT/notificationChannels/ID: gcloud beta monitoring channels list --format='value(name)'."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for channel in var.notification_channels : can(regex("^projects/[^/]+/notificationChannels/[0-9]+$", channel))])
    error_message = "notification_channels: names such as projects/my-project/notificationChannels/1234567890."
  }
}

variable "deletion_protection" {
  description = "Whether Terraform refuses to delete the service. False before `terraform destroy`, and applied."
  type        = bool
  default     = true
  nullable    = false
}
