//! The clusters that Istio's control plane writes: the service's own, the one without hosts, and those of
//! ServiceEntries and of their DestinationRules' subsets.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Around, Place, listener, of_kind};

pub(super) fn clusters(
    resources: &[Value],
    place: &Place,
    around: &Around,
    stand_ins: &[(String, SocketAddr)],
) -> Vec<Value> {
    let service = match place {
        Place::Sidecar(port) => format!("inbound|{port}||"),
        Place::Gateway { cluster, .. } => cluster.clone(),
    };
    let mut clusters = vec![
        json!({"name": "BlackHoleCluster", "type": "STATIC", "connect_timeout": "10s"}),
        cluster(&service, around.upstream),
    ];
    for entry in of_kind(resources, "ServiceEntry") {
        for host in texts(&entry["spec"]["hosts"]) {
            let stand_in = stand_ins.iter().find(|(name, _)| name == host);
            let address = stand_in.map_or(around.services, |(_, address)| *address);
            let rules = || of_kind(resources, "DestinationRule").filter(|rule| rule["spec"]["host"] == host);
            for port in entry["spec"]["ports"].as_array().into_iter().flatten() {
                let number = &port["number"];
                clusters.push(cluster(&format!("outbound|{number}||{host}"), address));
                let subsets = rules().flat_map(|rule| rule["spec"]["subsets"].as_array()).flatten();
                for subset in subsets {
                    assert_eq!(subset["trafficPolicy"]["tls"]["mode"], "SIMPLE");
                    let name = subset["name"].as_str().expect("a name");
                    clusters.push(cluster(&format!("outbound|{number}|{name}|{host}"), address));
                }
            }
        }
    }
    clusters
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn cluster(name: &str, address: SocketAddr) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": listener::address(address)}}]}],
        },
    })
}
