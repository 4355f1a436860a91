//! Measures the pure functions difference, plan and render, at 10, 1,000 and 50,000 servers.

#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use proxymgr_actors::decide::capabilities::Capabilities;
use proxymgr_actors::decide::haproxy_config::{self, SectionStyle};
use proxymgr_actors::decide::hosts_diff::HostsDiff;
use proxymgr_actors::decide::overlay::Overlay;
use proxymgr_actors::decide::proxy_plan::{AppliedService, Ground, WantedService, applied_server, plan_service};
use proxymgr_actors::decide::server_ids::ServerIds;
use proxymgr_actors::model::{
    Address, AgentState, Descriptors, Endpoint, Host, HostList, ObservedServer, ObservedServers, ProxyVersion, Removal,
    ServerName, ServiceDefinition, ServiceName, SourceSpec, UpdateStrategy, Word,
};

fn definition() -> ServiceDefinition {
    let words = |line: &str| line.split(' ').map(|word| Word::new(word).expect("a word")).collect::<Vec<_>>();
    ServiceDefinition {
        name: ServiceName::new("web").expect("a name"),
        origin: Arc::from("a bench"),
        listen: None,
        section: Default::default(),
        in_base: None,
        listen_options: vec![words("balance roundrobin")],
        server_options: words("check inter 2000"),
        requests: Default::default(),
        domains_granted: false,
        life_cycle: Default::default(),
        update: Default::default(),
        source: SourceSpec::new("static", serde_json::Map::new()),
        removal: Removal::default(),
    }
}

fn hosts(count: u32) -> HostList {
    let host = |n: u32| {
        let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() + n);
        let endpoint = Endpoint::Tcp { address: Address::Ip(address.into()), port: 80.try_into().expect("a port") };
        (ServerName::new(&format!("{address}:80")).expect("a name"), Host::at(endpoint).into())
    };
    (0..count).map(host).collect()
}

fn observed(hosts: &HostList) -> ObservedServers {
    let server = |host: &Host| ObservedServer {
        address: host.endpoint.ip(),
        port: host.endpoint.port(),
        fqdn: None,
        admin_state: 0,
        operational_state: 2,
        weight: 1,
        id: None,
        agent: AgentState::None,
    };
    hosts.iter().map(|(name, host)| (name.clone(), server(host))).collect()
}

fn decisions(criterion: &mut Criterion) {
    let definition = definition();
    let style = SectionStyle::default();
    let (ids, held) = (ServerIds::default(), Descriptors::new());
    let mut group = criterion.benchmark_group("decisions");
    group.sample_size(20);
    for count in [10, 1_000, 50_000] {
        group.throughput(Throughput::Elements(count.into()));
        let before = hosts(count);
        let (gone, _) = before.first().expect("there are hosts");
        let mut after = before.clone();
        after.remove(gone);
        group.bench_function(BenchmarkId::new("diff", count), |bencher| {
            bencher.iter(|| HostsDiff::between(black_box(&before), black_box(&after)));
        });
        let loaded = AppliedService {
            in_base: None,
            header: haproxy_config::section_header(&definition, style),
            servers: before.iter().map(|(name, host)| (name.clone(), applied_server(&definition, host))).collect(),
        };
        let observed = observed(&before);
        let capabilities = Capabilities::of(ProxyVersion { major: 3, minor: 0 });
        let ground = Ground { capabilities, inherited: &[], style, is_external: false };
        group.bench_function(BenchmarkId::new("plan", count), |bencher| {
            bencher.iter(|| {
                let wanted = WantedService {
                    definition: &definition,
                    hosts: black_box(&after),
                    ids: &ids,
                    overlay: &Overlay::NONE,
                    strategy: UpdateStrategy::Dynamic,
                    slots: None,
                };
                let plan = plan_service(wanted, Some(&loaded), Some(&observed), &BTreeMap::new(), ground);
                assert_eq!(plan.steps.len(), 1, "{gone} goes");
                plan
            });
        });
        group.bench_function(BenchmarkId::new("render", count), |bencher| {
            bencher.iter(|| haproxy_config::section(&definition, &held, black_box(&after), &ids, style));
        });
    }
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
