//! Reads `show stat`: comma-separated, columns named in its first line.
//!
//! Source: HAProxy's management guide, section 9.1. Columns are found by name, because each version adds some.

use proxymgr_actors::model::{SectionTraffic, ServerName, ServerTraffic, ServiceName, Traffic, TrafficFigures};

/// The maximum number of lines kept of an answer: a thousand services with fifty hosts each.
const LINES_MAX: usize = 100_000;

/// The lines read so far.
#[derive(Default)]
pub struct StatisticsTable {
    columns: Vec<String>,
    lines: Vec<Vec<String>>,
}

impl StatisticsTable {
    /// Parses the next line of the answer.
    pub fn line(&mut self, line: &str) {
        if let Some(header) = line.strip_prefix("# ") {
            self.columns = header.split(',').map(ToOwned::to_owned).collect();
        } else if !line.is_empty() && self.lines.len() < LINES_MAX {
            self.lines.push(fields(line));
        }
    }

    /// Returns the rows, once the whole answer was read.
    pub fn rows(&self) -> impl Iterator<Item = StatisticsRow<'_>> {
        self.lines.iter().map(|fields| StatisticsRow { columns: &self.columns, fields })
    }

    /// Returns the traffic of the one section that was asked for.
    pub fn section(&self) -> SectionTraffic {
        let (backend, servers): (Vec<_>, Vec<_>) = self.rows().partition(StatisticsRow::is_backend);
        SectionTraffic {
            servers: servers.iter().filter_map(StatisticsRow::server).collect(),
            total: backend.first().map(StatisticsRow::server_traffic).unwrap_or_default(),
        }
    }
}

/// One line.
pub struct StatisticsRow<'a> {
    columns: &'a [String],
    pub(super) fields: &'a [String],
}

impl StatisticsRow<'_> {
    fn text(&self, column: &str) -> Option<&str> {
        let at = self.columns.iter().position(|name| name == column)?;
        self.fields.get(at).map(String::as_str).filter(|text| !text.is_empty())
    }

    fn known_number(&self, column: &str) -> Option<u64> {
        self.text(column).and_then(|text| text.parse().ok())
    }

    fn number(&self, column: &str) -> u64 {
        self.known_number(column).unwrap_or_default()
    }

    fn traffic(&self) -> Traffic {
        Traffic { sessions: self.number("scur"), rate: self.number("rate") }
    }

    /// Whether the line describes a backend and not a frontend.
    pub fn is_backend(&self) -> bool {
        self.text("svname") == Some("BACKEND")
    }

    /// Returns the line as that of a section; `None` if the section is not a service.
    pub fn section(&self) -> Option<(ServiceName, Traffic)> {
        Some((ServiceName::new(self.text("pxname")?).ok()?, self.traffic()))
    }

    /// Returns the line as that of a server.
    pub fn server(&self) -> Option<(ServerName, ServerTraffic)> {
        Some((ServerName::new(self.text("svname")?).ok()?, self.server_traffic()))
    }

    /// Returns the traffic and health of the server, or of the backend, that the line describes.
    fn server_traffic(&self) -> ServerTraffic {
        let said = [self.text("check_status"), self.text("last_chk")];
        let said: Vec<&str> = said.into_iter().flatten().map(|text| text.trim_start_matches("* ")).collect();
        ServerTraffic {
            traffic: self.traffic(),
            figures: self.figures(),
            check: (!said.is_empty()).then(|| said.join(", ")),
            check_ms: self.known_number("check_duration"),
            unchanged_s: self.known_number("lastchg"),
            downtime_s: self.known_number("downtime"),
        }
    }

    fn figures(&self) -> TrafficFigures {
        let [second, third, fourth, fifth] =
            ["hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx"].map(|column| self.known_number(column));
        let responses = second.zip(third).zip(fourth.zip(fifth)).map(|((a, b), (c, d))| [a, b, c, d]);
        // Averages are 0 before the first request.
        let time = self.known_number(if responses.is_some() { "rtime" } else { "ctime" });
        let sessions = self.number("stot");
        TrafficFigures {
            sessions,
            queued: self.number("qcur"),
            responses,
            connect_errors: self.number("econ"),
            response_errors: self.number("eresp"),
            retries: self.number("wretr").saturating_add(self.number("wredis")),
            response_ms: time.filter(|_| sessions > 0),
            bytes: (self.number("bin"), self.number("bout")),
        }
    }
}

/// Splits a line into fields. A field with a comma or a quote is quoted, with its quotes doubled.
pub(super) fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        let field = fields.last_mut().expect("it begins with one field and only grows");
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            character => field.push(character),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> StatisticsTable {
        let mut table = StatisticsTable::default();
        text.lines().for_each(|line| table.line(line));
        table
    }

    #[test]
    fn columns_are_found_by_name() {
        let table = table("# pxname,svname,scur,smax,rate,\nweb,FRONTEND,3,9,12,\n#weird,FRONTEND,1,1,1,\n");
        let sections: Vec<_> = table.rows().filter_map(|row| row.section()).collect();
        assert_eq!(sections, [(ServiceName::new("web").unwrap(), Traffic { sessions: 3, rate: 12 })]);
    }

    #[test]
    fn check_result_may_contain_commas_and_quotes() {
        let table = table(
            "# pxname,svname,scur,rate,lastchg,check_status,last_chk,\nweb,a,1,2,70,L4CON,\"refused, \"\"x\"\"\",\n",
        );
        let (name, server) = table.rows().find_map(|row| row.server()).unwrap();
        assert_eq!(name.as_str(), "a");
        assert_eq!(server.check.as_deref(), Some("L4CON, refused, \"x\""));
        assert_eq!(server.unchanged_s, Some(70));
    }

    #[test]
    fn figures_of_a_server_are_read() {
        let columns = "# pxname,svname,qcur,scur,stot,bin,bout,econ,eresp,wretr,wredis,downtime,rate,check_duration,\
                       hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,ctime,rtime,";
        let http = table(&format!("{columns}\nweb,a,1,2,30,400,5000,6,7,8,1,9,2,10,20,3,4,2,11,12,\n"));
        let (_, server) = http.rows().find_map(|row| row.server()).unwrap();
        let expected = TrafficFigures {
            sessions: 30,
            queued: 1,
            responses: Some([20, 3, 4, 2]),
            connect_errors: 6,
            response_errors: 7,
            retries: 9,
            response_ms: Some(12),
            bytes: (400, 5_000),
        };
        assert_eq!((server.figures, server.check_ms, server.downtime_s), (expected, Some(10), Some(9)));
        let tcp =
            table(&format!("{columns}\ndb,a,0,0,3,0,0,0,0,0,0,,0,,,,,,11,0,\ndb,b,0,0,0,0,0,0,0,0,0,,0,,,,,,0,0,\n"));
        let figures: Vec<_> = tcp.rows().map(|row| row.server_traffic().figures).collect();
        assert_eq!((figures[0].responses, figures[0].response_ms), (None, Some(11)));
        assert_eq!(figures[1].response_ms, None, "no session yet");
    }

    #[test]
    fn an_answer_without_a_header_is_no_table() {
        assert_eq!(table("Permission denied\n").rows().filter_map(|row| row.section()).count(), 0);
    }
}
