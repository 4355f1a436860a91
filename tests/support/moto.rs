//! AWS simulated by moto: <https://docs.getmoto.org>, in a process of the test.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Once;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_autoscaling::Client as Scaling;
use aws_sdk_ec2::Client as Compute;

use super::dir::TestDir;
use super::eventually::{check, eventually_or};
use super::http;
use super::process::Process;

/// The region.
pub const REGION: &str = "eu-west-1";

const ZONE: &str = "eu-west-1a";

/// An image that moto knows.
const IMAGE: &str = "ami-03cf127a";

/// Time-out for its start, on a busy machine.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// A server, installed by tests/setup/get-moto.sh.
pub struct Moto {
    port: u16,
    process: Process,
    scaling: Scaling,
    compute: Compute,
}

impl Moto {
    /// Starts a server without groups and instances that accepts all credentials.
    pub async fn start(dir: &TestDir) -> Self {
        have_credentials();
        let port = dir.port();
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/moto/bin/moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let process = Process::start(dir, "moto", command);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let answers = async || {
            let answer = http::get(address, "/moto-api/data.json").await.map_err(|error| error.to_string())?;
            check(answer.status == 200, &answer.text())
        };
        eventually_or(READY_LIMIT, "moto answers", answers, || process.log_tail()).await;
        let config = aws_config::defaults(BehaviorVersion::latest()).region(Region::new(REGION));
        let config = config.endpoint_url(format!("http://{address}")).load().await;
        let (scaling, compute) = (Scaling::new(&config), Compute::new(&config));
        let configuration = scaling.create_launch_configuration().launch_configuration_name("any");
        configuration.image_id(IMAGE).instance_type("t2.micro").send().await.expect("a launch configuration");
        Self { port, process, scaling, compute }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Rejects all credentials, or accepts all.
    pub async fn demand_credentials(&self, demand: bool) {
        let actions_without = if demand { "0" } else { "inf" };
        let answer = http::request(self.address(), "POST", "/moto-api/reset-auth", &[], actions_without).await;
        assert_eq!(answer.expect("moto answers").status, 200);
    }

    /// Creates a group without instances.
    pub async fn create_group(&self, name: &str) {
        let group = self.scaling.create_auto_scaling_group().auto_scaling_group_name(name);
        let group = group.launch_configuration_name("any").min_size(0).max_size(1_000).desired_capacity(0);
        group.availability_zones(ZONE).send().await.expect("a group");
    }

    /// Runs an instance with this private address, in no group; returns its id.
    pub async fn run(&self, private: &str) -> String {
        let run = self.compute.run_instances().image_id(IMAGE).min_count(1).max_count(1).private_ip_address(private);
        let run = run.send().await.expect("an instance");
        run.instances()[0].instance_id().expect("an instance has an id").to_owned()
    }

    /// Runs an instance that has this IPv6 address, in no group; returns its id.
    pub async fn run_with_ipv6(&self, ipv6: &str) -> String {
        let subnets = self.compute.describe_subnets().send().await.expect("subnets");
        let subnet = subnets.subnets()[0].subnet_id().expect("a subnet has an id");
        let address = aws_sdk_ec2::types::InstanceIpv6Address::builder().ipv6_address(ipv6).build();
        let interface = self.compute.create_network_interface().subnet_id(subnet).ipv6_addresses(address);
        let interface = interface.send().await.expect("a network interface");
        let interface = interface.network_interface().and_then(|it| it.network_interface_id()).expect("it has an id");
        let interface = aws_sdk_ec2::types::InstanceNetworkInterfaceSpecification::builder()
            .device_index(0)
            .network_interface_id(interface)
            .build();
        let run = self.compute.run_instances().image_id(IMAGE).min_count(1).max_count(1);
        let run = run.network_interfaces(interface).send().await.expect("an instance");
        run.instances()[0].instance_id().expect("an instance has an id").to_owned()
    }

    /// The public address of an instance.
    pub async fn public_address(&self, id: &str) -> String {
        let shown = self.compute.describe_instances().instance_ids(id).send().await.expect("the instance");
        let address = shown.reservations()[0].instances()[0].public_ip_address();
        address.expect("moto gives such an instance a public address").to_owned()
    }

    /// Puts an instance into a group, in service.
    pub async fn attach(&self, group: &str, id: &str) {
        let attach = self.scaling.attach_instances().auto_scaling_group_name(group).instance_ids(id);
        attach.send().await.expect("the instance belongs to the group");
    }

    /// Removes an instance from a group.
    pub async fn detach(&self, group: &str, id: &str) {
        let detach = self.scaling.detach_instances().auto_scaling_group_name(group).instance_ids(id);
        detach.should_decrement_desired_capacity(true).send().await.expect("the instance left the group");
    }

    /// Sets the health of an instance in its group.
    pub async fn set_healthy(&self, id: &str, healthy: bool) {
        let health = self.scaling.set_instance_health().instance_id(id);
        health.health_status(if healthy { "Healthy" } else { "Unhealthy" }).send().await.expect("a health");
    }

    /// Sets an instance of a group to standby.
    pub async fn stand_by(&self, group: &str, id: &str) {
        let standby = self.scaling.enter_standby().auto_scaling_group_name(group).instance_ids(id);
        standby.should_decrement_desired_capacity(true).send().await.expect("the instance stands by");
    }

    /// Terminates an instance without its group.
    pub async fn terminate(&self, id: &str) {
        self.compute.terminate_instances().instance_ids(id).send().await.expect("the instance ends");
    }
}

/// Sets credentials for this process, and disables the instance metadata service.
#[expect(unsafe_code, reason = "the environment is not safe to change while other threads read it")]
fn have_credentials() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for (name, value) in [
            ("AWS_ACCESS_KEY_ID", "AKIATESTTESTTESTTEST"),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ] {
            // SAFETY: called once, before anything in this process uses AWS; each test is a process of its own, so nothing
            // else reads the environment meanwhile.
            unsafe { std::env::set_var(name, value) };
        }
    });
}

/// The secret, which must not appear in any log or message.
pub const SECRET: &str = "s3cret-of-aws";
