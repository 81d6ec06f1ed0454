//! Traces for a collector of OpenTelemetry, in builds that have the feature `traces`; in all others they are passed on, and nobody
//! records them.

#[cfg(feature = "traces")]
mod exporter;
#[cfg(feature = "traces")]
mod otlp;
mod target;

use std::sync::Arc;

use gateway_core::config::Config;
use gateway_core::metrics::Metrics;
use gateway_core::supervisor::Supervisor;
use gateway_core::traces::Traces;

/// What is said where a collector is named that nobody would hand anything to.
const WITHOUT: &str = "this gateway was built without traces: take a build with the feature `traces`, as \
                       `cargo build --release --features traces` makes it, or leave telemetry.otlp_endpoint empty";

/// Looks whether traces could be handed over as the configuration says.
///
/// # Errors
/// What is wrong, in words that name the setting.
pub fn check(config: &Config) -> Result<(), String> {
    let target = target::target(&config.telemetry)?;
    if target.is_some() && !cfg!(feature = "traces") {
        return Err(format!("telemetry.otlp_endpoint: {WITHOUT}"));
    }
    Ok(())
}

/// What begins traces, for the node of this name; they are recorded if the configuration says where.
///
/// # Errors
/// As [`check`], or there is no TLS to be had at all.
#[cfg(feature = "traces")]
pub fn start(config: &Config, node: &str, metrics: &Arc<Metrics>, supervisor: &Supervisor) -> anyhow::Result<Traces> {
    let Some(target) = target::target(&config.telemetry).map_err(anyhow::Error::msg)? else {
        return Ok(Traces::default());
    };
    let resource = otlp::resource(&config.telemetry.service_name, node);
    let (queue, exporter) = exporter::exporter(target, resource, metrics.clone())?;
    supervisor.run_on("traces", exporter.run(supervisor.stop().clone()));
    Ok(Traces::recorded_by(Arc::new(queue), config.telemetry.sample))
}

/// What begins traces: without the feature they are passed on.
///
/// # Errors
/// As [`check`].
#[cfg(not(feature = "traces"))]
pub fn start(config: &Config, _: &str, _: &Arc<Metrics>, _: &Supervisor) -> anyhow::Result<Traces> {
    check(config).map_err(anyhow::Error::msg)?;
    Ok(Traces::default())
}
