#include "server/engine/manifest.h"

#include <gtest/gtest.h>

namespace vecino::engine {
namespace {

TEST(Manifest, KeepsItsForm) {
  const std::string bytes = EncodeManifest({.drained_through = 0x0102030405060708, .rows = 513});
  EXPECT_EQ(bytes, std::string("\x01\x08\x07\x06\x05\x04\x03\x02\x01\x01\x02\0\0\0\0\0\0", 17));
  const auto manifest = DecodeManifest(bytes);
  ASSERT_TRUE(manifest.ok());
  EXPECT_EQ(manifest->drained_through, 0x0102030405060708u);
  EXPECT_EQ(manifest->rows, 513u);
}

TEST(Manifest, RefusesWhatIsNoManifest) {
  const std::string good = EncodeManifest({1, 1});
  for (const std::string& bad :
       {std::string(), good.substr(1), good.substr(0, 16), good + "x", "\x02" + good.substr(1)}) {
    EXPECT_EQ(DecodeManifest(bad).status().code(), absl::StatusCode::kDataLoss);
  }
}

}  // namespace
}  // namespace vecino::engine
