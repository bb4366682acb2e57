//! TensorBoard's event files, through the parts of tensorboard-rs that return their errors.
//!
//! Its `SummaryWriter` writes on a thread of its own, which panics when a disk is full; a panic ends all ranks, while a
//! run can do without TensorBoard. So the file is ours, and the crate makes the records and summaries in it.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::Path;

use protobuf::Message;
use tensorboard_proto::event::Event;
use tensorboard_rs::record_writer::RecordWriter;
use tensorboard_rs::summary::scalar;

use crate::machine::clock::since_1970;

/// One run's event file.
pub struct EventFile(RecordWriter<BufWriter<File>>);

impl EventFile {
    /// Begins a new file in `dir`; TensorBoard shows all files of a folder as one run.
    ///
    /// # Errors
    /// The folder or the file cannot be written.
    pub fn create(dir: &Path, host: &str) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let name =
            format!("events.out.tfevents.{:010}.{host}.{}.0", since_1970().as_secs_f64() as u64, std::process::id());
        let mut file = Self(RecordWriter::new(BufWriter::new(File::create(dir.join(name))?)));
        let mut event = Event::new();
        event.set_file_version("brain.Event:2".into());
        file.write(event)?;
        Ok(file)
    }

    /// The values of one step.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn scalars(&mut self, step: u64, scalars: &[(String, f64)]) -> io::Result<()> {
        for (tag, value) in scalars {
            let mut event = Event::new();
            event.set_step(step as i64);
            event.set_summary(scalar(tag, *value as f32));
            self.write(event)?;
        }
        self.0.flush()
    }

    fn write(&mut self, mut event: Event) -> io::Result<()> {
        event.set_wall_time(since_1970().as_secs_f64());
        self.0.write(&event.write_to_bytes().map_err(io::Error::other)?)
    }
}
