//! Parses the answer to `show servers state` (management guide, section 9.3).
//!
//! There are 20 columns in 2.2 and 25 in 2.6, so they are found by the header's names. Lines are parsed one at a time
//! as they arrive: 50,000 servers are several megabytes, which are not kept in memory as a whole.

use std::num::NonZeroU16;
use std::sync::Arc;

use crate::model::{AgentState, Observation, ObservedServer, ObservedServers, ServerName, ServiceName};

/// The columns that are read.
const COLUMNS: [&str; 10] = [
    "be_name",
    "srv_name",
    "srv_addr",
    "srv_op_state",
    "srv_admin_state",
    "srv_uweight",
    "srv_fqdn",
    "srv_port",
    "srv_id",
    "srv_agent_state",
];

/// Parses the lines of one or several answers to `show servers state`.
#[derive(Debug, Default)]
pub struct ServerRows {
    /// For each column of the output, its index in [`COLUMNS`]; `None` if it is not read.
    columns: Vec<Option<usize>>,
}

/// One server of an answer.
#[derive(Debug)]
pub struct ServerRow<'a> {
    /// Its section. It may be one of HAProxy's own, like `<HTTPCLIENT>`.
    pub section: &'a str,
    /// Its name.
    pub server: &'a str,
    /// Its state.
    pub observed: ObservedServer,
}

impl ServerRows {
    /// Parses the next line; returns `None` for one that describes no server. The error describes what was not
    /// understood.
    pub fn read<'a>(&mut self, line: &'a str) -> Result<Option<ServerRow<'a>>, String> {
        if let Some(header) = line.strip_prefix("# ") {
            return self.header(header).map(|()| None);
        }
        // The format's version, a blank line or "Can't find backend.", which describe no server.
        if !line.starts_with(|c: char| c.is_ascii_digit()) || !line.contains(' ') {
            return Ok(None);
        }
        let row = self.row(line)?;
        let observed = observed(&row).ok_or_else(|| format!("a value in this line is not a number: {line:?}"))?;
        Ok(Some(ServerRow { section: row[0], server: row[1], observed }))
    }

    fn header(&mut self, header: &str) -> Result<(), String> {
        self.columns.clear();
        self.columns.extend(header.split_ascii_whitespace().map(|name| COLUMNS.iter().position(|c| *c == name)));
        match (0..COLUMNS.len()).find(|&index| !self.columns.contains(&Some(index))) {
            Some(missing) => Err(format!("`show servers state` has no column {}", COLUMNS[missing])),
            None => Ok(()),
        }
    }

    fn row<'a>(&self, line: &'a str) -> Result<[&'a str; COLUMNS.len()], String> {
        let mut row = [""; COLUMNS.len()];
        let mut seen = 0;
        for (value, column) in line.split(' ').zip(&self.columns) {
            if let Some(index) = *column {
                row[index] = value;
                seen += 1;
            }
        }
        if seen == COLUMNS.len() { Ok(row) } else { Err(format!("`show servers state` has a short line: {line:?}")) }
    }
}

/// Collects the servers of one or several answers to `show servers state`.
#[derive(Debug, Default)]
pub struct ServerStateReader {
    rows: ServerRows,
    /// The section that the last line belonged to: lines of one section follow each other.
    current: Option<(ServiceName, ObservedServers)>,
    observation: Observation,
}

impl ServerStateReader {
    /// Parses the next line. The error describes what was not understood.
    pub fn line(&mut self, line: &str) -> Result<(), String> {
        let Some(ServerRow { section, server, observed }) = self.rows.read(line)? else { return Ok(()) };
        // HAProxy's own sections and their servers do not have the name of a service.
        if let (Ok(section), Ok(server)) = (ServiceName::new(section), ServerName::new(server)) {
            self.section(section).insert(server, observed);
        }
        Ok(())
    }

    /// Records that HAProxy has this section, even if it has no servers.
    pub fn section_exists(&mut self, service: ServiceName) {
        self.section(service);
    }

    /// Returns everything that was read.
    pub fn finish(mut self) -> Observation {
        self.close_section();
        self.observation
    }

    fn section(&mut self, service: ServiceName) -> &mut ObservedServers {
        if self.current.as_ref().is_none_or(|(current, _)| *current != service) {
            self.close_section();
            let servers = self.observation.services.remove(&service).unwrap_or_default();
            self.current = Some((service, Arc::unwrap_or_clone(servers)));
        }
        &mut self.current.as_mut().expect("it was set above").1
    }

    fn close_section(&mut self) {
        if let Some((service, servers)) = self.current.take() {
            self.observation.services.insert(service, Arc::new(servers));
        }
    }
}

fn observed(row: &[&str; COLUMNS.len()]) -> Option<ObservedServer> {
    Some(ObservedServer {
        address: row[2].parse().ok(),
        operational_state: row[3].parse().ok()?,
        admin_state: row[4].parse().ok()?,
        weight: row[5].parse().ok()?,
        fqdn: (row[6] != "-").then(|| row[6].into()),
        port: NonZeroU16::new(row[7].parse().ok()?),
        id: Some(row[8].parse().ok()?),
        agent: AgentState::of_bits(row[9].parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Endpoint;

    const HEADER_2_2: &str = "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight \
        srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state \
        srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord";

    fn read(lines: &[&str]) -> Result<Observation, String> {
        let mut reader = ServerStateReader::default();
        lines.iter().try_for_each(|line| reader.line(line))?;
        Ok(reader.finish())
    }

    #[test]
    fn servers_are_read_by_the_headers_names() {
        let added = format!("{HEADER_2_2} srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port");
        let state = read(&[
            "1",
            HEADER_2_2,
            "2 web 1 s0 127.0.0.2 0 33 10 1 0 8 2 0 14 0 0 0 - 90 -",
            "3 two 1 x - 2 0 1 1 0 1 0 2 0 0 0 0 a.example 1 -",
            "",
            "1",
            &added,
            "2 web 70001 n2 ::1 2 0 1 1 0 1 0 0 6 22 0 1 - 99 - 0 0 - - 0",
        ])
        .unwrap();
        let web = &state.services[&ServiceName::new("web").unwrap()];
        assert_eq!(web.len(), 2);
        let s0 = &web[&ServerName::new("s0").unwrap()];
        assert_eq!((s0.endpoint(), s0.weight, s0.operational_state), (Endpoint::parse("127.0.0.2:90"), 10, 0));
        assert!(s0.in_maintenance() && s0.fqdn.is_none());
        assert_eq!((s0.id, s0.agent), (Some(1), AgentState::None));
        let n2 = &web[&ServerName::new("n2").unwrap()];
        assert_eq!((n2.endpoint(), n2.id, n2.agent), (Endpoint::parse("[::1]:99"), Some(70_001), AgentState::Enabled));
        let two = &state.services[&ServiceName::new("two").unwrap()];
        let x = &two[&ServerName::new("x").unwrap()];
        assert_eq!((x.endpoint(), x.address), (Endpoint::parse("a.example:1"), None));
    }

    #[test]
    fn a_missing_section_is_absent() {
        assert_eq!(read(&["Can't find backend.", ""]).unwrap(), Observation::default());
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let without_port = HEADER_2_2.replace(" srv_port", "");
        assert_eq!(read(&[&without_port]).unwrap_err(), "`show servers state` has no column srv_port");
        assert!(read(&[HEADER_2_2, "2 web 1 s0"]).unwrap_err().contains("short line"));
        let bad = read(&[HEADER_2_2, "2 web 1 s0 127.0.0.2 0 33 ten 1 0 8 2 0 14 0 0 0 - 90 -"]);
        assert!(bad.unwrap_err().contains("not a number"));
    }
}
