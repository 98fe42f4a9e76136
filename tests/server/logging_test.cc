#include "server/logging.h"

#include <google/protobuf/stubs/logging.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "server/rpc/library_logs.h"

namespace vecino {
namespace {

TEST(LoggingTest, EscapesJson) {
  EXPECT_EQ(EscapeJson("a\"b\\c\n\x01"), "a\\\"b\\\\c\\n\\u0001");
  EXPECT_EQ(EscapeJson("\xff"), "\xef\xbf\xbd");
  EXPECT_EQ(EscapeJson("grün"), "grün");
}

TEST(LoggingTest, JsonLinesParse) {
  const auto before = spdlog::default_logger();
  Config config;
  config.log_format = "json";
  config.log_level = "warn";
  testing::internal::CaptureStderr();
  SetUpLogging(config);
  spdlog::info("hidden");
  spdlog::warn("bad \"quote\"\nand line");
  const std::string text = testing::internal::GetCapturedStderr();
  spdlog::set_default_logger(before);
  const auto line = nlohmann::json::parse(text);
  EXPECT_EQ(line["level"], "warning");
  EXPECT_EQ(line["message"], "bad \"quote\"\nand line");
}

TEST(LoggingTest, CallersCannotFillTheLogThroughProtobuf) {
  const auto before = spdlog::default_logger();
  rpc::RouteLibraryLogs();
  const auto complain = [](const char* level) {
    Config config;
    config.log_format = "json";
    config.log_level = level;
    testing::internal::CaptureStderr();
    SetUpLogging(config);
    GOOGLE_LOG(ERROR) << "invalid UTF-8 {}";
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(complain("info"), "");
  const auto line = nlohmann::json::parse(complain("debug"));
  EXPECT_EQ(line["message"], "protobuf: invalid UTF-8 {}");
  google::protobuf::SetLogHandler(nullptr);
  spdlog::set_default_logger(before);
}

}  // namespace
}  // namespace vecino
