//! The server: its options, how it binds, what it starts and how it ends.

use std::fs::{self, File, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;

use crate::access::AccessTokens;
use crate::identity::Issuer;
use crate::keys::{KeyError, Signer};
use crate::pubsub::PubSub;
use crate::secrets::Secrets;
use crate::status::{self, ApiError, json_body};
use crate::store::{Store, StoreError};
use crate::{api, exchange, metadata, tokeninfo};

/// Connections that wait to be accepted; what the kernel allows may be less.
const BACKLOG: u32 = 1024;

/// After a stop is asked for, requests in progress have this long to end.
const GRACE: Duration = Duration::from_secs(5);

/// What to serve, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address to listen on; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where the keys, the database and the secrets are. Created if missing; one server at a time.
    pub state_dir: PathBuf,
    /// The issuer of identity and push tokens, and the base of the discovery document. Default: `http://<listen>`.
    pub public_base: Option<String>,
    /// The project that the metadata server names.
    pub project_id: String,
    /// The e-mail address of the account whose tokens the metadata server hands out.
    pub service_account: String,
    /// Whether `listen` may be reachable from other machines: whoever reaches it gets access tokens.
    pub allow_non_loopback: bool,
}

impl Options {
    /// The options of a server on this address, with a project and an account of its own making.
    pub fn new(listen: SocketAddr, state_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen,
            state_dir: state_dir.into(),
            public_base: None,
            project_id: "lockgate-local".to_owned(),
            service_account: "lockgate@lockgate-local.iam.gserviceaccount.com".to_owned(),
            allow_non_loopback: false,
        }
    }
}

/// Why the server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is not a loopback address and `allow_non_loopback` is not set.
    #[error("{0} is not a loopback address, and whoever reaches this server gets its access tokens")]
    NotLoopback(SocketAddr),
    /// Another server uses the state directory.
    #[error("another server is using {}", .0.display())]
    InUse(PathBuf),
    /// The address could not be bound, the state directory not used, or a connection not accepted.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The keys could not be made or read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The database could not be opened.
    #[error("the database: {0}")]
    Store(#[from] StoreError),
}

/// Serves until `shutdown` is ready.
///
/// # Errors
/// As [`Server::bind`] and [`Server::run`].
pub async fn serve(options: Options, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    Server::bind(options).await?.run(shutdown).await
}

/// A server that is bound: clients may connect, and are answered once it runs.
pub struct Server {
    listener: TcpListener,
    local_addr: SocketAddr,
    issuer: Arc<Issuer>,
    access: AccessTokens,
    store: Store,
    options: Options,
    /// Held until the end; the system releases it however the process ends.
    _lock: File,
}

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Services(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) access: AccessTokens,
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) pubsub: PubSub,
    pub(crate) secrets: Secrets,
    pub(crate) project_id: String,
    pub(crate) service_account: String,
    pub(crate) state_dir: PathBuf,
}

impl std::ops::Deref for Services {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Server {
    /// Binds the address and opens the state directory.
    ///
    /// # Errors
    /// If the address is not loopback (and that is not allowed) or is taken, if another server uses the state
    /// directory, or if keys or database cannot be read or made.
    pub async fn bind(options: Options) -> Result<Self, Error> {
        if !options.listen.ip().is_loopback() && !options.allow_non_loopback {
            return Err(Error::NotLoopback(options.listen));
        }
        let lock = lock(&options)?;
        let listener = listen(options.listen)?;
        let local_addr = listener.local_addr()?;
        let base = options.public_base.clone().unwrap_or_else(|| format!("http://{local_addr}"));
        let state_dir = options.state_dir.clone();
        let load = move || Ok::<_, KeyError>((Signer::load(&state_dir)?, AccessTokens::load(&state_dir)?));
        let (signer, access) = tokio::task::spawn_blocking(load).await.map_err(io::Error::other)??;
        let issuer = Arc::new(Issuer::new(base.trim_end_matches('/').to_owned(), signer));
        let store = Store::open(&options.state_dir.join("pubsub.sqlite3"))?;
        Ok(Self { listener, local_addr, issuer, access, store, options, _lock: lock })
    }

    /// Where the server listens, with the port that the system chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until `shutdown` is ready, and delivers, what an earlier server left included. Then no connection is accepted any more, pushes are cut off (and made again
    /// by the next server), and requests in progress have five seconds to end.
    ///
    /// # Errors
    /// If the database cannot be read or the listener fails.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        log::info!("serving {} on {}", self.issuer.name(), self.local_addr);
        let services = Services(Arc::new(Parts {
            access: self.access,
            pubsub: PubSub::start(self.store, Arc::clone(&self.issuer)).await?,
            issuer: self.issuer,
            secrets: Secrets::new(self.options.state_dir.join("secrets")),
            project_id: self.options.project_id,
            service_account: self.options.service_account,
            state_dir: self.options.state_dir,
        }));
        let listener = self.listener.tap_io(|stream| {
            // A connection that is already gone says so when it is read.
            let _ = stream.set_nodelay(true);
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async {
            let _ = stopped.await;
        };
        let routes = routes(services.clone());
        let mut serving = pin!(axum::serve(listener, routes).with_graceful_shutdown(stopped).into_future());
        tokio::select! {
            ended = &mut serving => ended?,
            () = shutdown => {
                services.pubsub.stop_deliveries().await;
                let _ = stop.send(());
                if tokio::time::timeout(GRACE, serving).await.is_err() {
                    log::warn!("requests were still in progress at the end");
                }
            }
        }
        services.pubsub.close().await;
        Ok(())
    }
}

fn routes(services: Services) -> Router {
    Router::new()
        .route("/oauth2/v3/certs", get(key_set))
        .route("/.well-known/openid-configuration", get(discovery))
        .route(exchange::PATH, post(exchange::exchange))
        .route(tokeninfo::PATH, post(tokeninfo::tokeninfo))
        .nest("/computeMetadata/v1", metadata::routes(&services))
        .fallback(api::serve)
        .with_state(services)
}

async fn key_set(State(services): State<Services>) -> Response {
    json_body(services.issuer.key_set().as_bytes().to_vec())
}

/// As far as a verifier of tokens needs it (OpenID Connect Discovery 1.0, section 3).
async fn discovery(State(services): State<Services>) -> Result<Response, ApiError> {
    let issuer = services.issuer.name();
    status::ok(&json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/oauth2/v3/certs"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "claims_supported": ["aud", "azp", "email", "email_verified", "exp", "iat", "iss", "sub"],
    }))
}

fn lock(options: &Options) -> Result<File, Error> {
    fs::create_dir_all(&options.state_dir)?;
    let lock = File::create(options.state_dir.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::InUse(options.state_dir.clone())),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// With `SO_REUSEADDR`, or the connections of a server that was killed would hold the port for a minute.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
