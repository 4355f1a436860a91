//! Code of templates in the settings file: the predecessor of proxymgr evaluated its file with ERB, older versions
//! replaced `{{ NAME }}` by environment variables. Neither is evaluated here, and both could be valid YAML.

use std::path::Path;

use proxymgr_yaml::Mistake;

/// The mistake about the first line with template code; `None` without any.
pub(super) fn mistake(text: &str, path: &Path) -> Option<Mistake> {
    let lines = text.lines().zip(1_usize..);
    let mut found = lines.filter_map(|(line, number)| Some((code(line)?, number)));
    let ((kind, code), number) = found.next()?;
    let more = match found.count() {
        0 => String::new(),
        1 => ", as does 1 more line".to_owned(),
        more => format!(", as do {more} more lines"),
    };
    let advice = match kind {
        TemplateKind::Erb => "run the file through erb first: erb proxymgr.yml.erb > proxymgr.yml",
        TemplateKind::Variable => "write the value",
    };
    Some(Mistake {
        place: format!("{}:{number}", path.display()),
        key: String::new(),
        problem: format!(
            "contains {kind} ({code}){more}; the Ruby ProxyMgr evaluated it, this proxymgr does not: {advice}, or set \
             the key by an environment variable, such as PROXYMGR_SERVICE_CONFIG__SERVERS",
            kind = kind.name()
        ),
    })
}

/// A kind of template code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TemplateKind {
    /// `<%= ... %>`
    Erb,
    /// `{{ NAME }}`
    Variable,
}

impl TemplateKind {
    fn name(self) -> &'static str {
        match self {
            Self::Erb => "ERB",
            Self::Variable => "a variable of a template",
        }
    }
}

/// The template code in a line that is not a comment.
fn code(line: &str) -> Option<(TemplateKind, &str)> {
    if line.trim_start().starts_with('#') {
        return None;
    }
    // In a log format of HAProxy, <%ci> is text and a variable.
    let erb = line.match_indices("<%").find(|(at, _)| {
        line[at + 2..].chars().next().is_none_or(|next| matches!(next, '=' | '-' | '#') || next.is_whitespace())
    });
    if let Some((start, _)) = erb {
        let end = line[start..].find("%>").map_or(line.len(), |length| start + length + 2);
        return Some((TemplateKind::Erb, &line[start..end]));
    }
    let start = line.find("{{")?;
    let end = start + line[start..].find("}}")?;
    let name = line[start + 2..end].trim();
    let is_variable =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    is_variable.then(|| (TemplateKind::Variable, &line[start..end + 2]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_code_is_named_with_its_line() {
        let text = "# <%= comment %>\nservice_config:\n  type: zookeeper\n  servers: <%= ENV['ZK'] %>\n\
                    <% if x %>\n  path: /a\n";
        let mistake = mistake(text, Path::new("p.yml")).unwrap();
        assert_eq!(mistake.place, "p.yml:4");
        assert!(mistake.problem.starts_with("contains ERB (<%= ENV['ZK'] %>), as does 1 more line; "), "{mistake}");
    }

    #[test]
    fn kinds_of_code_are_distinguished_from_log_formats() {
        for (line, expected) in [
            ("path: <%= x %>", Some(TemplateKind::Erb)),
            ("<%- x -%>", Some(TemplateKind::Erb)),
            ("<%", Some(TemplateKind::Erb)),
            ("  servers: {{ ZK_SERVERS }}", Some(TemplateKind::Variable)),
            ("log-format \"<%ci> %[src]\"", None),
            ("log-format \"%{+Q}o {{ %hr }}\"", None),
            ("  # {{ ZK }}", None),
        ] {
            assert_eq!(code(line).map(|(kind, _)| kind), expected, "{line}");
        }
    }
}
