//! The machine that a rank runs on: its cores, memory, device and clocks.

pub mod allocator;
pub mod card;
pub mod clock;
pub mod cores;
pub mod cpu_time;
pub mod cuda;
pub mod device;
pub mod gpu_settings;
pub mod memory;
pub mod phase;
mod timeline;
