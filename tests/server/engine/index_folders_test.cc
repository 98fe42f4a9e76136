#include "server/engine/index_folders.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

namespace vecino::engine {
namespace {

class IndexFolderTest : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove_all(root_); }
  // As a build leaves one.
  void Write(uint32_t uid) const {
    const std::string folder = root_ + "/" + std::to_string(uid) + "/0";
    std::filesystem::create_directories(folder);
    std::ofstream(folder + "/fields-1") << "x";
  }
  bool IsThere(uint32_t uid) const {
    return std::filesystem::exists(root_ + "/" + std::to_string(uid));
  }

  const std::string root_ = testing::TempDir() + "/folders_" + std::to_string(getpid());
};

TEST_F(IndexFolderTest, WhatIsWrittenAfterItWasRemovedGoesWithWhoWroteIt) {
  Write(1);
  Write(2);
  auto of_collection = std::make_shared<IndexFolder>(root_, 1);
  auto of_build = of_collection;
  of_collection->Remove();
  EXPECT_FALSE(IsThere(1));
  of_collection.reset();
  Write(1);
  of_build.reset();
  EXPECT_FALSE(IsThere(1));
  EXPECT_TRUE(IsThere(2));
}

TEST_F(IndexFolderTest, StaysWhereNothingWasRemoved) {
  Write(1);
  { const IndexFolder folder(root_, 1); }
  EXPECT_TRUE(IsThere(1));
  RemoveStrayIndexFolders(root_, {2});
  EXPECT_FALSE(IsThere(1));
}

}  // namespace
}  // namespace vecino::engine
