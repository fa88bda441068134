//! Turns the OpenMetrics text of prometheus-client into the Prometheus text format 0.0.4.
//!
//! OpenMetrics names a counter's family without `_total` and its sample with it; the older
//! format, which document 2 prints and every scraper reads, has one name for both. A gauge
//! may then have the name that is left of a counter's (`tenement_instances` beside
//! `tenement_instances_total`).

/// Content type of what [`to_prometheus`] makes.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Rewrites the head of each family; samples stay as they are.
pub(super) fn to_prometheus(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len() + 1024);
    let mut help: Option<(&str, &str)> = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            if let Some((_, text)) = help.take().filter(|(named, _)| *named == name) {
                let text = text.strip_suffix('.').unwrap_or(text);
                out.push_str(&format!("# HELP {name}{suffix} {text}\n"));
            }
            out.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with("# UNIT ") && line != "# EOF" {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_has_one_name_in_head_and_sample() {
        let open = "# HELP a_b Things done.\n# TYPE a_b counter\na_b_total 3\n# HELP a_b Things.\n# TYPE a_b gauge\na_b{x=\"y\"} 1\n# EOF\n";
        let text = "# HELP a_b_total Things done\n# TYPE a_b_total counter\na_b_total 3\n# HELP a_b Things\n# TYPE a_b gauge\na_b{x=\"y\"} 1\n";
        assert_eq!(to_prometheus(open), text);
    }

    #[test]
    fn units_and_the_end_mark_are_left_out() {
        let open =
            "# HELP a_seconds T.\n# TYPE a_seconds unknown\n# UNIT a_seconds seconds\na_seconds 1\n# EOF\n";
        assert_eq!(to_prometheus(open), "# HELP a_seconds T\n# TYPE a_seconds untyped\na_seconds 1\n");
    }
}
