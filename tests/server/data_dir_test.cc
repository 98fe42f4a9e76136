#include "server/data_dir.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace vecino {
namespace {

using testing::HasSubstr;

class DataDirTest : public testing::Test {
 protected:
  DataDirTest() : root_(testing::TempDir() + "/data_dir_test." + std::to_string(getpid())) {
    std::filesystem::create_directories(root_);
  }
  ~DataDirTest() override { std::filesystem::remove_all(root_); }
  const std::string root_;
};

TEST_F(DataDirTest, MakesFoldersAndLeavesNothingBehind) {
  const std::string folder = root_ + "/a/b c";
  ASSERT_TRUE(PrepareFolder(folder).ok());
  ASSERT_TRUE(PrepareFolder(folder).ok());
  EXPECT_TRUE(std::filesystem::is_empty(folder));
}

TEST_F(DataDirTest, SaysWhatIsWrong) {
  std::ofstream(root_ + "/file") << "x";
  const absl::Status file = PrepareFolder(root_ + "/file");
  EXPECT_FALSE(file.ok());
  EXPECT_THAT(std::string(file.message()), HasSubstr("/file"));
  // /proc takes no files from anyone, root included.
  EXPECT_FALSE(PrepareFolder("/proc/vecino").ok());
  const absl::Status missing = WriteFileAtOnce(root_ + "/none/x", "y");
  EXPECT_EQ(missing.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(missing.message()),
              HasSubstr("the folder " + root_ + "/none does not exist"));
  EXPECT_THAT(std::string(WriteFileAtOnce(root_ + "/none/", "y").message()),
              HasSubstr("the folder " + root_ + "/none does not exist"));
  EXPECT_THAT(std::string(WriteFileAtOnce(root_, "y").message()), HasSubstr("it is a folder"));
  EXPECT_THAT(std::string(WriteFileAtOnce(root_ + "/file/x", "y").message()),
              HasSubstr("Not a directory"));
}

TEST_F(DataDirTest, WritesAtOnce) {
  ASSERT_TRUE(WriteFileAtOnce(root_ + "/x", "one").ok());
  ASSERT_TRUE(WriteFileAtOnce(root_ + "/x", "two").ok());
  std::string content;
  std::getline(std::ifstream(root_ + "/x"), content);
  EXPECT_EQ(content, "two");
  EXPECT_FALSE(std::filesystem::exists(root_ + "/x.new"));
}

}  // namespace
}  // namespace vecino
