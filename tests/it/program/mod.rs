//! The program from outside, without servers: on librdkafka's mock cluster, which is quick and fails
//! on command, and on files. What only real servers can show is in `tests/e2e`.

mod akvorado;
mod api;
mod bounds;
mod captures;
mod clock;
mod cluster;
mod collector;
mod crash;
mod death;
mod demo;
mod diagnosis;
mod direction;
mod flags;
mod formats;
mod health;
mod identity;
mod input;
mod kafka;
mod log;
mod losses;
mod pages;
mod pipes;
mod positions;
mod readers;
mod reload;
mod rights;
mod schemas;
mod secrets;
mod state;
mod tables;
mod time;
mod top;
mod views;
