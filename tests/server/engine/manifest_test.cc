#include "server/engine/manifest.h"

#include <gtest/gtest.h>

#include "server/index/crc32c.h"

namespace vecino::engine {
namespace {

Manifest Sample() {
  Manifest manifest;
  manifest.drained_through = 0x0102030405060708;
  manifest.rows = 513;
  manifest.next_file = 9;
  manifest.generation = 4;
  manifest.segments.push_back({.kind = index::SegmentKind::kIvf,
                               .file = 5,
                               .generation = 4,
                               .graph = 8,
                               .first_label = 1,
                               .last_label = 400,
                               .rows = 300,
                               .dead = {5, 0, uint64_t{1} << 63, 0, 0}});
  manifest.segments.push_back({.first_label = 401, .last_label = 900, .rows = 220, .dead = {}});
  manifest.fields.push_back(
      {.file = 6, .first_label = 1, .last_label = 500, .rows = 70, .dead = {3, uint64_t{1} << 5}});
  manifest.fields_through = 0x0102030405060709;
  return manifest;
}

TEST(Manifest, ComesBackAsItWas) {
  const Manifest sample = Sample();
  const auto manifest = DecodeManifest(EncodeManifest(sample));
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->drained_through, sample.drained_through);
  EXPECT_EQ(manifest->rows, 513u);
  EXPECT_EQ(manifest->next_file, 9u);
  EXPECT_EQ(manifest->generation, 4u);
  ASSERT_EQ(manifest->segments.size(), 2u);
  const Manifest::Segment& first = manifest->segments[0];
  EXPECT_EQ(first.kind, index::SegmentKind::kIvf);
  EXPECT_EQ(first.file, 5u);
  EXPECT_EQ(first.generation, 4u);
  EXPECT_EQ(first.graph, 8u);
  EXPECT_EQ(first.first_label, 1u);
  EXPECT_EQ(first.last_label, 400u);
  EXPECT_EQ(first.rows, 300u);
  EXPECT_EQ(first.dead, sample.segments[0].dead);
  EXPECT_TRUE(manifest->segments[1].dead.empty());
  EXPECT_EQ(manifest->fields_through, 0x0102030405060709u);
  ASSERT_EQ(manifest->fields.size(), 1u);
  EXPECT_EQ(manifest->fields[0].file, 6u);
  EXPECT_EQ(manifest->fields[0].last_label, 500u);
  EXPECT_EQ(manifest->fields[0].dead, sample.fields[0].dead);
}

// It knew nothing of fields; they are read from the store then.
TEST(Manifest, ReadsVersion2) {
  std::string bytes(1, '\x02');
  const auto put = [&](uint64_t value) {
    for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(value >> (8 * i)));
  };
  for (const uint64_t value : {700, 513, 9, 4, 0}) put(value);
  put(index::Crc32c(bytes.data(), bytes.size()));
  const auto manifest = DecodeManifest(bytes);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->drained_through, 700u);
  EXPECT_EQ(manifest->fields_through, 0u);
  EXPECT_TRUE(manifest->fields.empty());
}

TEST(Manifest, ReadsVersion1) {
  const std::string bytes("\x01\x08\x07\x06\x05\x04\x03\x02\x01\x01\x02\0\0\0\0\0\0", 17);
  const auto manifest = DecodeManifest(bytes);
  ASSERT_TRUE(manifest.ok());
  EXPECT_EQ(manifest->drained_through, 0x0102030405060708u);
  EXPECT_EQ(manifest->rows, 513u);
  ASSERT_EQ(manifest->segments.size(), 1u);
  EXPECT_EQ(manifest->segments[0].file, 0u);
  EXPECT_EQ(manifest->segments[0].last_label, 0x0102030405060708u);
}

TEST(Manifest, RefusesEveryCutAndWhatIsBehind) {
  const std::string good = EncodeManifest(Sample());
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_EQ(DecodeManifest(good.substr(0, size)).status().code(), absl::StatusCode::kDataLoss)
        << size;
  }
  EXPECT_FALSE(DecodeManifest(good + "x").ok());
  EXPECT_FALSE(DecodeManifest("\x04" + good.substr(1)).ok());
}

TEST(Manifest, RefusesWhatCannotBe) {
  Manifest overlapping = Sample();
  overlapping.segments[1].first_label = 400;
  EXPECT_FALSE(DecodeManifest(EncodeManifest(overlapping)).ok());
  Manifest beyond = Sample();
  beyond.drained_through = 899;
  EXPECT_FALSE(DecodeManifest(EncodeManifest(beyond)).ok());
  Manifest dead_beyond = Sample();
  dead_beyond.segments[1].dead = {0, 0, 0, uint64_t{1} << 30};  // slot 222 of 220
  EXPECT_FALSE(DecodeManifest(EncodeManifest(dead_beyond)).ok());
}

TEST(Manifest, RefusesAnyByteChanged) {
  const std::string good = EncodeManifest(Sample());
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x41);
    EXPECT_EQ(DecodeManifest(bad).status().code(), absl::StatusCode::kDataLoss) << i;
  }
}

// Of the version behind those drained whole, passages may be in a segment; of none behind it.
TEST(Manifest, LabelsOfChunkedCollections) {
  const LabelScheme labels = LabelScheme::Chunked();
  Manifest manifest = Sample();
  manifest.segments.resize(1);
  manifest.segments[0].first_label = labels.ToLabel(7, 0);
  manifest.segments[0].last_label = labels.ToLabel(42, 100);
  for (const auto& [drained, good] : {std::pair{40, false}, {41, true}, {42, true}}) {
    manifest.drained_through = static_cast<uint64_t>(drained);
    EXPECT_EQ(DecodeManifest(EncodeManifest(manifest), labels).ok(), good) << drained;
  }
  EXPECT_FALSE(DecodeManifest(EncodeManifest(manifest)).ok());
  EXPECT_EQ(labels.SequenceOf(labels.Last(42)), 42u);
  EXPECT_EQ(labels.PassageOf(labels.ToLabel(42, 4095)), 4095);
  EXPECT_EQ(labels.WholeThrough(labels.Last(42)), 42u);
  EXPECT_EQ(labels.WholeThrough(labels.ToLabel(42, 4094)), 41u);
  EXPECT_EQ(LabelScheme().WholeThrough(42), 42u);
}

}  // namespace
}  // namespace vecino::engine
