// The rules of shared/worker_note.h.
#include "shared/worker_note.h"

#include <gtest/gtest.h>

#include <array>
#include <limits>

#include "tests/support/grind.h"

namespace cppfcgi {

void PrintTo(const CrashRecord& record, std::ostream* out) {
  *out << record.signal << " " << record.request_id << " " << record.method << " " << record.uri << " "
       << record.modules.size() << " modules " << record.frames.size() << " frames " << record.is_whole;
}

namespace {

using test::grind;
using test::Pieces;
using Seen = std::pair<bool, std::optional<CrashRecord>>;

Seen read(const Pieces& pieces) {
  WorkerNoteReader reader;
  for (const std::string_view piece : pieces) reader.feed(piece);
  return {reader.is_ready(), reader.record()};
}

Seen read_text(std::string_view text) { return read({text}); }

constexpr unsigned char id[] = {0x0a, 0xff};

std::string whole_record() {
  std::vector<char> room(max_note_bytes);
  NoteWriter writer(room);
  writer.begin();
  writer.number(note::signal, 11);
  writer.number(note::code, -6);
  writer.number(note::exit, -1);
  writer.address(note::address, 0);
  writer.address(note::pc, 0x55d0'c0de);
  writer.address(note::sp, ~std::uint64_t{0});
  writer.number(note::sender, 7);
  writer.number(note::thread, 812);
  writer.text(note::thread_name, "app fcgi");
  writer.text(note::exception, "std::runtime_error");
  writer.text(note::what, "no\nsuch \x1b[31mitem");
  writer.text(note::request_id, "abc");
  writer.text(note::method, "GET");
  writer.text(note::uri, "/cart?a=1 2");
  writer.text(note::client, "192.0.2.7");
  writer.module({.start = 0x1000,
                 .end = 0x2000,
                 .offset = 0x10,
                 .inode = 99,
                 .device = "08:01",
                 .path = "/srv/a b",
                 .build_id = id});
  writer.module({.start = 0x3000, .end = 0x4000, .offset = 0, .inode = 1, .device = "00:2a", .path = "/lib/c.so"});
  writer.address(note::frame, 0x55d0'c0de);
  writer.address(note::frame, 0x1001);
  writer.end();
  return std::string(writer.text());
}

CrashRecord expected_record() {
  return {.signal = 11,
          .code = -6,
          .exit_status = -1,
          .address = 0,
          .pc = 0x55d0'c0de,
          .sp = ~std::uint64_t{0},
          .sender = 7,
          .thread = 812,
          .thread_name = "app fcgi",
          .exception = "std::runtime_error",
          .what = "no?such ?[31mitem",
          .request_id = "abc",
          .method = "GET",
          .uri = "/cart?a=1 2",
          .client = "192.0.2.7",
          .modules = {{.start = 0x1000,
                       .end = 0x2000,
                       .offset = 0x10,
                       .inode = 99,
                       .device = "08:01",
                       .build_id = "0aff",
                       .path = "/srv/a b"},
                      {.start = 0x3000,
                       .end = 0x4000,
                       .offset = 0,
                       .inode = 1,
                       .device = "00:2a",
                       .build_id = "",
                       .path = "/lib/c.so"}},
          .frames = {0x55d0'c0de, 0x1001},
          .is_whole = true};
}

TEST(WorkerNote, RecordIsReadAsItWasWrittenHoweverItIsCut) {
  grind("R" + whole_record(), read, Seen{true, expected_record()});
}

TEST(WorkerNote, RecordNeedsNoReadiness) { grind(whole_record(), read, Seen{false, expected_record()}, ""); }

TEST(WorkerNote, AnyOtherByteSaysReady) {
  EXPECT_EQ(read_text("r"), (Seen{true, std::nullopt}));
  EXPECT_TRUE(read_text("\n").first);
  EXPECT_EQ(read_text(""), (Seen{false, std::nullopt}));
}

TEST(WorkerNote, WhatBreaksOffIsKeptAndNotWhole) {
  const std::string text = whole_record();
  for (const std::size_t at : test::cut_positions(text.size() - 1)) {
    const auto record = read_text(std::string_view(text).substr(0, at)).second;
    EXPECT_EQ(record.has_value(), at > 0) << at;
    EXPECT_FALSE(record && record->is_whole) << at;
  }
  EXPECT_EQ(read_text(std::string_view(text).substr(0, text.find("module"))).second->uri, "/cart?a=1 2");
}

TEST(WorkerNote, LaterRecordCounts) {
  EXPECT_EQ(read_text("RC\nexit 3\n.\n" + whole_record()).second, expected_record());
}

TEST(WorkerNote, UnknownAndMalformedLinesAreLeftOut) {
  const CrashRecord empty{.is_whole = true};
  EXPECT_EQ(read_text("C\nnew 1\n\n \nsignal\nsignal eleven\nsignal 11x\nsignal 0x\nsignal -1\n.\n").second, empty);
  EXPECT_EQ(
      read_text("C\nmodule\nmodule 0x1000 0x2000 0x0 08:01 1 - relative\nmodule 0x2 0x1 0x0 08:01 1 - /a\n.\n").second,
      empty);
}

TEST(WorkerNote, NumbersHaveTheirLimits) {
  EXPECT_EQ(
      read_text("C\ncode -9223372036854775808\naddress 0xffffffffffffffff\n.\n").second,
      (CrashRecord{.code = std::numeric_limits<std::int64_t>::min(), .address = ~std::uint64_t{0}, .is_whole = true}));
  EXPECT_EQ(read_text("C\naddress 0x10000000000000000\n.\n").second, CrashRecord{.is_whole = true});
}

TEST(WorkerNote, FramesAndModulesAreBounded) {
  std::string text = "C\n";
  for (std::size_t i = 0; i < 2 * max_note_frames; ++i) text += "frame 0x1\n";
  for (std::size_t i = 0; i < 2 * max_note_modules; ++i) text += "module 0x1 0x2 0x0 0:0 1 - /a\n";
  const auto record = read_text(text + ".\n").second;
  EXPECT_EQ(record->frames.size(), max_note_frames);
  EXPECT_EQ(record->modules.size(), max_note_modules);
}

TEST(WorkerNote, NoMoreIsTakenThanARecordMayHave) {
  const std::string line = "uri " + std::string(9'000, 'x') + "\n";
  std::string text = "C\n" + line;
  EXPECT_EQ(read_text(text + ".\n").second->uri.size(), max_note_line_bytes - 4);
  while (text.size() < max_note_bytes) text += line;
  const auto record = read_text(text + "method GET\n.\nR").second;
  EXPECT_FALSE(record->is_whole);
  EXPECT_EQ(record->method, "");
  grind(text + "method GET\n.\n", read, Seen{false, record});
}

TEST(NoteWriter, LeavesOutALineThatDoesNotFit) {
  std::array<char, 20> room;
  NoteWriter writer(room);
  writer.begin();
  writer.text(note::uri, "/cart");
  writer.text(note::what, "too long a text");
  writer.number(note::exit, 3);
  EXPECT_EQ(writer.text(), "C\nuri /cart\nexit 3\n");
  writer.end();
  EXPECT_EQ(writer.text(), "C\nuri /cart\nexit 3\n");
  writer.clear();
  writer.end();
  EXPECT_EQ(writer.text(), ".\n");
}

TEST(NoteWriter, LaysOutLinesForPeople) {
  std::array<char, 100> room;
  NoteWriter writer(room);
  writer.words("a\tb ");
  writer.hex(0xabc);
  writer.words(" ");
  writer.decimal(std::numeric_limits<std::int64_t>::min());
  writer.end_line();
  EXPECT_EQ(writer.text(), "a?b 0xabc -9223372036854775808\n");
}

}  // namespace
}  // namespace cppfcgi
