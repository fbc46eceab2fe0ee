mod codec;
mod copies;
mod listing;
mod objects;
mod references;
mod uploads;
mod world;
