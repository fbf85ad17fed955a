variable "name" {
  description = "Names everything; the deterministic URL begins with it."
  type        = string
  default     = "lockgate"
  nullable    = false

  # A service account's id is at most 30 characters, and "-push" is appended.
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,22}[a-z0-9]$", var.name))
    error_message = "name: 2 to 24 lower-case letters, digits and hyphens, beginning with a letter, for example lockgate."
  }
}

variable "project" {
  description = "The project's id."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project: a project's id, for example my-project; its number goes into project_number."
  }
}

variable "project_number" {
  description = "The project's number, which is part of the deterministic URL: gcloud projects describe PROJECT --format='value(projectNumber)'."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[1-9][0-9]{5,19}$", var.project_number))
    error_message = "project_number: the project's number, for example 123456789012."
  }
}

variable "region" {
  description = "The region of the service and of the image repository."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region: a Cloud Run region, for example europe-west1."
  }
}

variable "public_url" {
  description = "How the world reaches the service, where a domain of yours leads to it; its deterministic URL by default."
  type        = string
  default     = null

  validation {
    condition     = var.public_url == null || can(regex("^https://[a-z0-9.-]+$", var.public_url))
    error_message = "public_url: https and a host, without a path, for example https://app.example.com."
  }
}

variable "upstream_url" {
  description = "Your service: where requests go that were let in."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^https?://[A-Za-z0-9._-]+(:[0-9]+)?$", var.upstream_url))
    error_message = "upstream_url: http or https and a host, without a path, for example https://my-service-123456789012.europe-west1.run.app."
  }
}

variable "upstream_identity" {
  description = "Sends a Google identity token of the running account with each request to the upstream; null for none. The audience is the upstream's URL by default. The header is authorization, or x-serverless-authorization where the caller's own Authorization must reach the upstream."
  type = object({
    audience = optional(string)
    header   = optional(string, "authorization")
  })
  default = null

  validation {
    condition     = try(var.upstream_identity.audience, null) == null || can(regex("^\\S+$", var.upstream_identity.audience))
    error_message = "upstream_identity.audience: what the upstream expects in aud, usually its URL, for example https://my-service-123456789012.europe-west1.run.app."
  }

  validation {
    condition     = contains(["authorization", "x-serverless-authorization"], try(var.upstream_identity.header, "authorization"))
    error_message = "upstream_identity.header: authorization or x-serverless-authorization."
  }

  validation {
    condition     = var.upstream_identity == null || startswith(var.upstream_url, "https://")
    error_message = "upstream_identity: the upstream must be spoken to by https, so that nobody on the way reads the token."
  }
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

  validation {
    condition = var.sign_in == null || try(
      var.sign_in.provider != null || length(var.sign_in.service_accounts) + length(var.sign_in.google_client_ids) > 0, false
    )
    error_message = "sign_in: one of provider, service_accounts and google_client_ids; null for a door that stays closed."
  }

  validation {
    condition = var.sign_in == null || try(
      (var.sign_in.provider == null && length(var.sign_in.google_client_ids) == 0) || length(var.sign_in.email_domains) > 0, false
    )
    error_message = "sign_in.email_domains: which of the people may come in, for example [\"example.com\"], or [\"*\"] for everyone who signs in."
  }

  validation {
    condition     = try(var.sign_in.provider, null) == null || can(regex("^https://\\S+$", var.sign_in.provider.issuer))
    error_message = "sign_in.provider.issuer: the provider's issuer, exactly as in its tokens, for example https://accounts.google.com."
  }

  validation {
    condition     = try(var.sign_in.provider, null) == null || can(regex("^[^\\s,]+$", var.sign_in.provider.client_id))
    error_message = "sign_in.provider.client_id: what the provider knows this proxy as, for example 123456789012-abc.apps.googleusercontent.com."
  }

  validation {
    condition = try(var.sign_in.email_domains, []) == tolist(["*"]) || alltrue([
      for domain in try(var.sign_in.email_domains, []) : can(regex("^[a-z0-9-]+(\\.[a-z0-9-]+)+$", domain))
    ])
    error_message = "sign_in.email_domains: domains such as example.com, or [\"*\"] alone."
  }

  validation {
    condition = alltrue([
      for account in try(var.sign_in.service_accounts, []) : can(regex("^[^@\\s,]+@[a-z0-9.-]+\\.gserviceaccount\\.com$", account))
    ])
    error_message = "sign_in.service_accounts: service accounts' e-mail addresses, for example job@my-project.iam.gserviceaccount.com."
  }

  validation {
    condition = alltrue([
      for client in try(var.sign_in.google_client_ids, []) : can(regex("^[^\\s,]+\\.apps\\.googleusercontent\\.com$", client))
    ])
    error_message = "sign_in.google_client_ids: OAuth clients, for example 123456789012-abc.apps.googleusercontent.com."
  }
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

  validation {
    condition     = var.log || !var.slack
    error_message = "slack: needs log = true, since Slack is answered once the request is stored."
  }
}

variable "cpu" {
  description = "Processors of an instance; Envoy has as many workers."
  type        = number
  default     = 1
  nullable    = false

  # Less than a whole one would limit an instance to one request at a time.
  validation {
    condition     = contains([1, 2, 4, 6, 8], var.cpu)
    error_message = "cpu: 1, 2, 4, 6 or 8."
  }
}

variable "environment" {
  description = "Further variables of the container, for example LOCKGATE_CONFIG and what a configuration of your own reads. No secrets: those go into `secrets`."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for name in keys(var.environment) : can(regex("^[A-Z][A-Z0-9_]*$", name))])
    error_message = "environment: names in upper case, for example LOCKGATE_CONFIG."
  }

  validation {
    condition = length(setintersection(keys(var.environment), [
      "ADMIN_PORT", "ASSERTION_KEY", "COOKIE_SECRET", "LOG_KEY", "OIDC_CLIENT_SECRET", "PORT", "SLACK_SIGNING_SECRET",
    ])) == 0
    error_message = "environment: PORT and ADMIN_PORT are fixed, and a secret's value would end in the state; add the secret with gcloud, as the output secret_commands says."
  }
}

variable "secrets" {
  description = "Further secrets, by the variable that a configuration of your own reads them from, for example WEBHOOK_KEY."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for name in var.secrets : can(regex("^[A-Z][A-Z0-9_]*$", name))])
    error_message = "secrets: names of variables in upper case, for example WEBHOOK_KEY."
  }
}
