#include "storage/info_log.h"

#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <memory>
#include <thread>
#include <vector>

#include "store_fixture.h"

namespace vecino::storage {
namespace {

class InfoLogTest : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  static std::string Content(const std::string& path) {
    std::ifstream file(path);
    std::ostringstream content;
    content << file.rdbuf();
    return content.str();
  }

  const std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("info_log_test-" + std::to_string(getpid()));
  const std::string path_ = (folder_ / "LOG").string();
};

TEST_F(InfoLogTest, WarningsAndErrorsAreAddedToTheFile) {
  for (int run = 0; run < 2; ++run) {
    const std::shared_ptr<rocksdb::Logger> log = std::make_shared<InfoLog>(path_);
    rocksdb::Info(log, "told to nobody");
    rocksdb::Warn(log, "warning %d", run);
    rocksdb::Error(log, "error %s\n", "of two words");
  }
  EXPECT_THAT(Content(path_),
              testing::MatchesRegex("[0-9TZ:.-]+ \\[WARN\\] warning 0\n"
                                    "[0-9TZ:.-]+ \\[ERROR\\] error of two words\n"
                                    "[0-9TZ:.-]+ \\[WARN\\] warning 1\n"
                                    "[0-9TZ:.-]+ \\[ERROR\\] error of two words\n"));
}

TEST_F(InfoLogTest, LongLinesAreCut) {
  const std::shared_ptr<rocksdb::Logger> log = std::make_shared<InfoLog>(path_);
  rocksdb::Warn(log, "%s", std::string(100'000, 'x').c_str());
  rocksdb::Warn(log, "short");
  const std::string content = Content(path_);
  EXPECT_LT(content.size(), 5'000u);
  EXPECT_THAT(content, testing::HasSubstr("xxx\n"));
  EXPECT_THAT(content, testing::EndsWith("[WARN] short\n"));
}

TEST_F(InfoLogTest, TwoFilesAreKeptAtMost) {
  const std::shared_ptr<rocksdb::Logger> log = std::make_shared<InfoLog>(path_, 1'000);
  for (int i = 0; i < 1'000; ++i) rocksdb::Warn(log, "line %d", i);
  EXPECT_LT(std::filesystem::file_size(path_), 1'200u);
  EXPECT_LT(std::filesystem::file_size(path_ + ".old"), 1'200u);
  EXPECT_THAT(Content(path_), testing::EndsWith("line 999\n"));
  std::filesystem::remove(path_);
  std::filesystem::remove(path_ + ".old");
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

// As on a full disk, for which one needs rights that a test may lack.
TEST_F(InfoLogTest, LinesThatCannotBeWrittenAreDropped) {
  const auto before = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
  const std::shared_ptr<rocksdb::Logger> log = std::make_shared<InfoLog>(path_);
  rocksdb::Warn(log, "first");
  const rlimit full = {std::filesystem::file_size(path_), limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &full), 0);
  for (int i = 0; i < 3; ++i) rocksdb::Error(log, "no room for this");
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  std::signal(SIGXFSZ, before);
  rocksdb::Warn(log, "last");
  EXPECT_THAT(Content(path_), testing::MatchesRegex("[^\n]+ first\n[^\n]+ last\n"));
}

TEST_F(InfoLogTest, GrowsNoFurtherWhereTheOldOneCannotBeReplaced) {
  std::filesystem::create_directories(path_ + ".old/full");
  const std::shared_ptr<rocksdb::Logger> log = std::make_shared<InfoLog>(path_, 1'000);
  for (int i = 0; i < 1'000; ++i) rocksdb::Warn(log, "line %d", i);
  EXPECT_LT(std::filesystem::file_size(path_), 1'200u);
}

TEST_F(InfoLogTest, AFolderThatIsMissingIsWaitedFor) {
  std::filesystem::remove_all(folder_);
  const std::shared_ptr<rocksdb::Logger> log = std::make_shared<InfoLog>(path_);
  rocksdb::Warn(log, "first");
  std::filesystem::create_directories(folder_);
  rocksdb::Warn(log, "second");
  EXPECT_THAT(Content(path_), testing::MatchesRegex("[^\n]+ second\n"));
}

TEST_F(InfoLogTest, LinesOfManyThreadsStayWhole) {
  const std::shared_ptr<rocksdb::Logger> log = std::make_shared<InfoLog>(path_);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 250; ++i) rocksdb::Warn(log, "whole");
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::istringstream content(Content(path_));
  int lines = 0;
  for (std::string line; std::getline(content, line); ++lines) {
    EXPECT_THAT(line, testing::EndsWith("Z [WARN] whole"));
  }
  EXPECT_EQ(lines, 1'000);
}

}  // namespace
}  // namespace vecino::storage
