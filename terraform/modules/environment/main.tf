# What is known of a deployment before anything of it exists: its addresses, its names, and with them the
# container's environment. Both the cloud and a laptop get it from here, so that they are the same.

locals {
  # Cloud Run gives this address to every service whose name is short enough, so it needs no second apply.
  service_url = "https://${var.name}-${var.project_number}.${var.region}.run.app"
  public_url  = coalesce(var.public_url, local.service_url)

  topic             = var.name
  dead_letter_topic = "${var.name}-dead"
  # Under the address of its own, where a domain in front may do what it likes.
  push_endpoint        = "${local.service_url}/wal-playback"
  push_account_id      = "${var.name}-push"
  push_service_account = "${local.push_account_id}@${var.project}.iam.gserviceaccount.com"

  people    = try(var.sign_in.provider, null) != null
  assertion = try(var.sign_in.assertion, false)

  secret_names = setunion(
    local.people ? ["COOKIE_SECRET", "OIDC_CLIENT_SECRET"] : [],
    local.assertion ? ["ASSERTION_KEY"] : [],
    var.log ? ["LOG_KEY"] : [],
    var.slack ? ["SLACK_SIGNING_SECRET"] : [],
    var.secrets,
  )
  secret_ids = { for name in local.secret_names : name => "${var.name}-${lower(replace(name, "_", "-"))}" }

  groups = [
    {
      # Google's front end is the one proxy whose word about the client is taken.
      TRUSTED_HOPS      = "1"
      LISTEN_ADDRESS    = "0.0.0.0"
      ENVOY_CONCURRENCY = tostring(var.cpu)
      # The image says so too; a laptop that renders this has no image.
      LOG_FORMAT = "google"
      # Whose traces requests belong to. Cloud Run does not tell.
      GOOGLE_CLOUD_PROJECT = var.project
      PUBLIC_URL           = local.public_url
      UPSTREAM_URL         = var.upstream_url
    },
    var.upstream_identity == null ? {} : {
      UPSTREAM_AUDIENCE        = coalesce(var.upstream_identity.audience, var.upstream_url)
      UPSTREAM_IDENTITY_HEADER = var.upstream_identity.header
    },
    !local.people ? {} : {
      OIDC_ISSUER    = var.sign_in.provider.issuer
      OIDC_CLIENT_ID = var.sign_in.provider.client_id
    },
    var.sign_in == null ? {} : {
      ALLOWED_EMAIL_DOMAINS    = join(",", var.sign_in.email_domains)
      ALLOWED_SERVICE_ACCOUNTS = join(",", var.sign_in.service_accounts)
      GOOGLE_CLIENT_IDS        = join(",", var.sign_in.google_client_ids)
    },
    !var.log ? {} : {
      PUBSUB_TOPIC         = "projects/${var.project}/topics/${local.topic}"
      DEAD_LETTER_TOPIC    = "projects/${var.project}/topics/${local.dead_letter_topic}"
      PUSH_AUDIENCE        = local.push_endpoint
      PUSH_SERVICE_ACCOUNT = local.push_service_account
    },
    # Names, not values: the filters fetch them, and fetch them again when they are rotated.
    { for name, id in local.secret_ids : name => "sm://projects/${var.project}/secrets/${id}/versions/latest" },
    var.environment,
  ]
  # A variable without a value counts as unset.
  variables = { for name, value in merge(local.groups...) : name => value if value != "" }
}
