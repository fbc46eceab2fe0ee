mod codec;
mod listing;
mod objects;
mod references;
mod uploads;
mod world;
