//! Which source counts, and what happens at each limit and one past it.

use super::*;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

fn error_of(result: Result<&mut Options>) -> Error {
    result.map(|_| ()).unwrap_err()
}

#[test]
fn nothing_given_means_the_defaults_and_they_fit_together() {
    let settings = Options::new().resolve().unwrap();
    assert_eq!(settings, Settings::default());
    assert_eq!((settings.beat_ms, settings.ttl_ms, settings.ttl_max_ms), (1000, 10_000, 120_000));
    assert_eq!(settings.message_bytes_max, 16 << 20);
    assert_eq!(settings.session_budget_bytes, 32 << 20);
    assert_eq!((settings.channels_max, settings.workers, settings.max_skew_ms), (1024, 4, None));
}

#[test]
fn the_program_counts_over_the_environment_over_the_file_over_the_default() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().to_str().unwrap();
    std::fs::write(
        dir.path().join("clerver.toml"),
        "beat_ms = 300\nttl_ms = 3_000\nworkers = 3\nany_node = true\n",
    )
    .unwrap();
    let pairs =
        [("CLERVER_HOME", home), ("CLERVER_BEAT_MS", "200"), ("CLERVER_TTL_MS", "2000"), ("PATH", "/bin")];
    let mut options = Options::new().beat_ms(100);
    options.load(environment(&pairs)).unwrap();
    let settings = options.resolve().unwrap();
    assert_eq!((settings.beat_ms, settings.ttl_ms, settings.workers), (100, 2000, 3));
    assert!(settings.any_node);
    assert_eq!(settings.channels_max, 1024);
    assert_eq!(settings.home.as_deref(), Some(dir.path()));

    let mut later = Options::new();
    later.load(environment(&pairs)).unwrap();
    later.set("beat_ms", "100").unwrap();
    assert_eq!(later.resolve().unwrap(), settings, "the order of the calls does not matter");
}

#[test]
fn the_file_is_the_one_that_the_environment_names() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.toml");
    std::fs::write(&file, "node_name = \"mail\"\n").unwrap();
    let name = file.to_str().unwrap();
    let mut options = Options::new();
    options.load(environment(&[("CLERVER_CONFIG", name), ("HOME", "/nowhere")])).unwrap();
    let settings = options.resolve().unwrap();
    assert_eq!(settings.node_name.as_deref(), Some("mail"));
    assert_eq!(settings.home.as_deref(), Some(Path::new("/nowhere/.local/share/clerver")));
    let error = error_of(Options::new().load(environment(&[("CLERVER_CONFIG", "/nowhere/x.toml")])));
    assert_eq!(error.code, Code::Config);
    assert!(error.to_string().contains("/nowhere/x.toml"), "{error}");
    Options::new().load(environment(&[("HOME", "/nowhere")])).unwrap();
    Options::new().load(environment(&[])).unwrap();
}

#[test]
fn every_number_is_taken_at_its_limits_and_refused_one_past_them() {
    for option in OPTIONS.iter().filter(|option| option.kind == Kind::Number) {
        let (min, max) = option.range;
        for good in [min, max] {
            Options::new().set(option.name, &good.to_string()).unwrap();
        }
        let past_min = min.checked_sub(1).map(|bad| bad.to_string());
        for bad in [past_min, Some((max + 1).to_string())].into_iter().flatten() {
            let error = error_of(Options::new().set(option.name, &bad));
            assert_eq!(error.code, Code::Config);
            let text = error.to_string();
            for part in [option.name, &bad, &min.to_string(), &max.to_string(), "the program"] {
                assert!(text.contains(part), "{text} should name {part}");
            }
        }
    }
    assert_eq!(Options::new().beat_ms(49).resolve().unwrap_err().code, Code::Config);
    assert_eq!(Options::new().beat_ms(50).resolve().unwrap().beat_ms, 50);
    assert_eq!(Options::new().beat_ms(3_600_001).resolve().unwrap_err().code, Code::Config);
}

#[test]
fn the_defaults_lie_within_their_ranges() {
    for option in OPTIONS.iter().filter(|option| option.kind == Kind::Number && option.default != "None") {
        let default = option.default.replace('_', "");
        Options::new().set(option.name, &default).unwrap();
    }
}

#[test]
fn options_that_do_not_fit_together_are_refused_at_the_limit() {
    let budget = (1 << 20) + 2 * 10 * 4096;
    let options = Options::new().message_bytes_max(1 << 20).channels_max(10);
    options.clone().session_budget_bytes(budget).resolve().unwrap();
    let error = options.session_budget_bytes(budget - 1).resolve().unwrap_err();
    assert_eq!(error.code, Code::Config);
    assert!(error.remedy().contains(&format!("session_budget_bytes to {budget}")), "{error}");

    Options::new().ttl_ms(120_000).resolve().unwrap();
    assert_eq!(Options::new().ttl_ms(120_001).resolve().unwrap_err().code, Code::Config);

    let driven = Options::new().caller_driven(true).max_gap_ms(500);
    driven.clone().ttl_ms(2000).resolve().unwrap();
    assert_eq!(driven.ttl_ms(1999).resolve().unwrap_err().code, Code::Config);
    Options::new().ttl_ms(1999).resolve().unwrap();
}

#[test]
fn a_choice_takes_its_words_from_every_source_and_no_others() {
    assert_eq!(Options::new().resolve().unwrap().engine, "own");
    for word in ["own", "shared"] {
        assert_eq!(Options::new().engine(word).resolve().unwrap().engine, word);
        let mut options = Options::new();
        options.load(environment(&[("CLERVER_ENGINE", word), ("HOME", "/nowhere")])).unwrap();
        assert_eq!(options.resolve().unwrap().engine, word);
    }
    for bad in ["Shared", "", "none", "own or shared"] {
        let errors =
            [error_of(Options::new().set("engine", bad)), Options::new().engine(bad).resolve().unwrap_err()];
        for error in errors {
            assert_eq!(error.code, Code::Config);
            assert!(
                error.to_string().contains("engine") && error.to_string().contains("own or shared"),
                "{error}"
            );
        }
    }
    let error = error_of(Options::new().load(environment(&[("CLERVER_ENGINE", "mine")])));
    assert!(error.to_string().contains("CLERVER_ENGINE"), "{error}");
}

#[test]
fn a_program_that_drives_its_nodes_cannot_share_their_loop() {
    let options = Options::new().caller_driven(true);
    options.clone().engine("own").resolve().unwrap();
    let error = options.engine("shared").resolve().unwrap_err();
    assert_eq!(error.code, Code::Config);
    for part in ["engine", "caller_driven", "the program"] {
        assert!(error.to_string().contains(part), "{error} should name {part}");
    }
}

#[test]
fn a_bad_value_names_source_option_value_and_what_is_allowed() {
    let error = error_of(Options::new().load(environment(&[("CLERVER_BEAT_MS", "soon")])));
    assert_eq!(error.code, Code::Config);
    for part in ["CLERVER_BEAT_MS", "beat_ms", "soon", "50 to 3600000"] {
        assert!(error.to_string().contains(part), "{error} should name {part}");
    }
    for (name, value) in [("beat_ms", "+100"), ("beat_ms", "1e3"), ("beat_ms", ""), ("any_node", "yes")] {
        assert_eq!(error_of(Options::new().set(name, value)).code, Code::Config);
    }
    for (name, value) in [("node_name", ""), ("node_name", "a\nb"), ("home", "relative")] {
        assert_eq!(error_of(Options::new().set(name, value)).code, Code::Config);
    }
}

#[test]
fn unknown_names_are_refused_in_every_source_but_foreign_variables_pass() {
    let error = error_of(Options::new().set("beatms", "5"));
    assert_eq!(error.code, Code::Config);
    assert!(error.to_string().contains("beatms") && error.to_string().contains("beat_ms"), "{error}");
    let error = error_of(Options::new().load(environment(&[("CLERVER_BEATMS", "5")])));
    assert!(error.message.contains("CLERVER_BEATMS"), "{error}");
    let foreign = [
        ("CLERVER_SERVICE_HOST", "10.0.0.1"),
        ("CLERVER_PORT", "tcp://10.0.0.1:7400"),
        ("CLERVER_NO_INSTALL", "1"),
        ("CLERVERX", "1"),
    ];
    Options::new().load(environment(&foreign)).unwrap();
    for option in OPTIONS {
        assert!(
            !option.name.starts_with("service_") && !option.name.starts_with("port"),
            "{} is foreign",
            option.name
        );
    }
}

#[test]
fn an_environment_that_is_not_utf8_is_refused_only_where_it_is_ours() {
    let bad = OsString::from_vec(b"\xff".to_vec());
    let error = error_of(Options::new().load([("CLERVER_NODE_NAME".into(), bad.clone())]));
    assert_eq!(error.code, Code::Config);
    assert!(error.message.contains("CLERVER_NODE_NAME"), "{error}");
    let name = OsString::from_vec(b"CLERVER_\xff".to_vec());
    assert_eq!(error_of(Options::new().load([(name, "1".into())])).code, Code::Config);
    Options::new().load([("LS_COLORS".into(), bad)]).unwrap();
}

#[test]
fn a_bad_file_names_the_file_and_the_line_or_the_option() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("clerver.toml");
    let cases: [(&[u8], &str); 8] = [
        (b"beat_ms = 100\nbeat_ms = 200\n", "line 2"),
        (b"\n\nbeat_ms 100\n", "line 3"),
        (b"beat_ms = 100\n# \xff\n", "line 2"),
        (b"beat_ms = \"100\"\n", "without quotes"),
        (b"beat_ms = -1\n", "beat_ms"),
        (b"beat_ms = 49\n", "50 to 3600000"),
        (b"[beat]\nms = 5\n", "\"beat\""),
        (b"home = \"/x\"\n", "CLERVER_HOME"),
    ];
    for (content, why) in cases {
        std::fs::write(&file, content).unwrap();
        let error = error_of(Options::new().load_file(&file));
        assert_eq!(error.code, Code::Config);
        let text = error.to_string();
        assert!(text.contains(file.to_str().unwrap()) && text.contains(why), "{text} should say {why}");
    }
}

#[test]
fn what_is_not_built_yet_is_refused_by_name() {
    assert_eq!(Options::new().replace(true).resolve().unwrap_err().code, Code::Unsupported);
    Options::new().replace(false).resolve().unwrap();
}

#[test]
fn the_reference_tells_all_of_each_option() {
    let text = reference();
    for option in OPTIONS {
        assert!(text.contains(&format!("`{}` | `{}`", option.name, option.variable())));
        assert!(!option.doc.is_empty());
    }
    assert_eq!(text.lines().count(), OPTIONS.len() + 2);
}
