//! A gateway that was built without traces: nothing of OpenTelemetry is in it, and it says so where traces are asked of it.

use std::process::Command;

/// The crates that a build has, as cargo sees them.
fn crates(features: &[&str]) -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--locked", "--offline", "--package", "gateway", "--edges", "normal,build", "--prefix", "none"])
        .args(features)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn nothing_of_opentelemetry_is_in_a_build_without_the_feature() {
    assert!(!crates(&[]).contains("opentelemetry"));
    let with = crates(&["--features", "traces"]);
    assert!(with.contains("opentelemetry-proto ") && !with.contains("tonic ") && !with.contains("grpc"), "{with}");
}

#[test]
fn a_collector_that_nothing_could_be_handed_to_is_refused() {
    let check = |variables: &[(&str, &str)]| {
        let output = Command::new(env!("CARGO_BIN_EXE_gateway"))
            .arg("check")
            .envs(variables.iter().copied())
            .env("GATEWAY_DATA_DIR", "")
            .output()
            .unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), said)
    };
    let with = cfg!(feature = "traces");
    let named = [("GATEWAY_TELEMETRY__OTLP_ENDPOINT", "http://me:hunter2@otlp.example:4318/?key=hunter2")];
    let (code, said) = check(&named);
    assert_eq!(code, Some(if with { 0 } else { 64 }), "{said}");
    assert_eq!(said.contains("telemetry.otlp_endpoint: this gateway was built without traces"), !with, "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    for (name, value, expected) in [
        ("OTLP_ENDPOINT", "otlp.example:4318", "telemetry.otlp_endpoint: "),
        ("OTLP_ENDPOINT", "grpc://otlp.example:4317", "telemetry.otlp_endpoint: must be http:// or https://"),
        ("OTLP_HEADERS", "hunter2", "telemetry.otlp_headers: header 1 is not name=value"),
        ("SAMPLE", "1.5", "telemetry.sample: must be from 0 to 1"),
        ("SAMPLE", "nan", "telemetry.sample: "),
        ("SERVICE_NAME", " ", "telemetry.service_name: "),
    ] {
        let (code, said) = check(&[(&format!("GATEWAY_TELEMETRY__{name}"), value)]);
        assert!(code == Some(64) && said.contains(expected) && !said.contains("hunter2"), "{name}={value}: {said}");
    }
}
