//! The subscriptions that exist, in memory, each with the task that delivers it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{MutexGuard, watch};
use tokio::task::JoinSet;

use crate::identity::Issuer;
use crate::store::{Store, StoreError, resources};

use super::push::{Endpoint, Pump};
use super::resource::Subscription;

/// A subscription that is being delivered.
pub(super) struct Live {
    pub(super) id: i64,
    pub(super) name: String,
    resource: watch::Sender<Arc<Subscription>>,
    wake: watch::Sender<()>,
}

impl Live {
    pub(super) fn resource(&self) -> Arc<Subscription> {
        self.resource.borrow().clone()
    }

    pub(super) fn change(&self, resource: Subscription) {
        self.resource.send_replace(Arc::new(resource));
    }

    /// Reports a message that may be due. Fails once the subscription is gone.
    pub(super) fn arrivals(&self) -> watch::Receiver<()> {
        self.wake.subscribe()
    }

    pub(super) fn wake(&self) {
        self.wake.send_replace(());
    }
}

#[derive(Clone)]
pub(super) struct Registry(Arc<Inner>);

struct Inner {
    store: Store,
    issuer: Arc<Issuer>,
    endpoint: Endpoint,
    /// Held over a change of the stored resources and of the memory, so that the two agree.
    changes: tokio::sync::Mutex<()>,
    subscriptions: Mutex<Subscriptions>,
}

#[derive(Default)]
struct Subscriptions {
    by_id: HashMap<i64, Arc<Live>>,
    by_name: HashMap<String, i64>,
    tasks: JoinSet<()>,
    stopped: bool,
}

impl Registry {
    pub(super) async fn start(store: Store, issuer: Arc<Issuer>) -> Result<Self, StoreError> {
        let rows = store.read(resources::subscriptions).await?;
        let registry = Self(Arc::new(Inner {
            store,
            issuer,
            endpoint: Endpoint::new(),
            changes: tokio::sync::Mutex::default(),
            subscriptions: Mutex::default(),
        }));
        for row in rows {
            match serde_json::from_str(&row.resource) {
                Ok(resource) => registry.insert(row.id, resource),
                Err(error) => {
                    log::error!("{} cannot be read and is not delivered: {error}", row.name)
                }
            }
        }
        Ok(registry)
    }

    pub(super) async fn changes(&self) -> MutexGuard<'_, ()> {
        self.0.changes.lock().await
    }

    pub(super) fn insert(&self, id: i64, resource: Subscription) {
        let name = resource.name.clone();
        let (resource, changes) = watch::channel(Arc::new(resource));
        let (wake, arrivals) = watch::channel(());
        let Inner { store, issuer, endpoint, .. } = &*self.0;
        let pump = Pump::new(id, self.clone(), store.clone(), Arc::clone(issuer), endpoint.clone());
        let mut subscriptions = self.subscriptions();
        if subscriptions.stopped {
            return;
        }
        while subscriptions.tasks.try_join_next().is_some() {}
        subscriptions.tasks.spawn(pump.run(changes, arrivals));
        subscriptions.by_name.insert(name.clone(), id);
        subscriptions.by_id.insert(id, Arc::new(Live { id, name, resource, wake }));
    }

    pub(super) fn remove(&self, live: &Live) {
        let mut subscriptions = self.subscriptions();
        subscriptions.by_name.remove(&live.name);
        subscriptions.by_id.remove(&live.id);
    }

    pub(super) fn find(&self, name: &str) -> Option<Arc<Live>> {
        let subscriptions = self.subscriptions();
        let id = subscriptions.by_name.get(name)?;
        subscriptions.by_id.get(id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Live>> {
        self.subscriptions().by_id.values().cloned().collect()
    }

    /// Tells these subscriptions that something is due.
    pub(super) fn wake(&self, ids: &[i64]) {
        let subscriptions = self.subscriptions();
        for live in ids.iter().filter_map(|id| subscriptions.by_id.get(id)) {
            live.wake();
        }
    }

    /// Runs a task that ends with the deliveries.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.subscriptions().tasks.spawn(task);
    }

    /// Ends all deliveries: whoever drops what is returned cuts off what is in progress.
    pub(super) fn stop(&self) -> JoinSet<()> {
        let stopped = Subscriptions { stopped: true, ..Subscriptions::default() };
        std::mem::replace(&mut *self.subscriptions(), stopped).tasks
    }

    fn subscriptions(&self) -> std::sync::MutexGuard<'_, Subscriptions> {
        self.0.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
