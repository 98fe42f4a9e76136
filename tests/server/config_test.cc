#include "server/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include "absl/strings/match.h"

namespace vecino {
namespace {

using testing::HasSubstr;

std::string WriteFile(const std::string& content) {
  static int number = 0;
  const std::string path = testing::TempDir() + "/config_test." + std::to_string(getpid()) + "." +
                           std::to_string(number++) + ".toml";
  std::ofstream(path) << content;
  return path;
}

void ExpectError(const std::vector<std::string>& args, const EnvironmentList& environment,
                 const std::string& part) {
  const auto result = ParseInvocation(args, environment);
  ASSERT_FALSE(result.ok()) << part;
  EXPECT_THAT(std::string(result.status().message()), HasSubstr(part));
}

TEST(ConfigTest, DefaultsAreWithinTheirOwnRanges) {
  const Config defaults;
  for (const Option& option : Options()) {
    Config config;
    EXPECT_TRUE(option.parse(config, option.print(defaults)).ok()) << option.Name();
    EXPECT_EQ(option.print(config), option.print(defaults)) << option.Name();
  }
}

TEST(ConfigTest, FlagOverEnvironmentOverFileOverDefault) {
  const std::string file =
      WriteFile("[server]\nworkers = 5\nqueue-capacity = 50\nlisten = \"127.0.0.1:1\"\n");
  const EnvironmentList environment = {"VECINO_SERVER_WORKERS=6", "VECINO_SERVER_QUEUE_CAPACITY=60",
                                       "PATH=/bin"};
  const auto result = ParseInvocation({"--config", file, "--workers", "7"}, environment);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->config.workers, 7);
  EXPECT_EQ(result->config.queue_capacity, 60);
  EXPECT_EQ(result->config.listen, "127.0.0.1:1");
  EXPECT_EQ(result->config.data_dir, "vecino-data");
  EXPECT_EQ(result->action, Invocation::Action::kRun);
  const auto twice =
      ParseInvocation({"--workers", "7", "--listen", "h:1", "--config", "/nonexistent", "--workers",
                       "8", "--listen", "h:2", "--config", file},
                      {});
  ASSERT_TRUE(twice.ok()) << twice.status();
  EXPECT_EQ(twice->config.workers, 8);
  EXPECT_EQ(twice->config.listen, "h:2");
  const auto by_variable = ParseInvocation({}, {"VECINO_CONFIG=" + file});
  ASSERT_TRUE(by_variable.ok());
  EXPECT_EQ(by_variable->config.workers, 5);
}

TEST(ConfigTest, UnknownKeysAreErrors) {
  ExpectError({"--wrokers", "5"}, {}, "--wrokers");
  ExpectError({"stray"}, {}, "stray");
  ExpectError({}, {"VECINO_SERVER_WROKERS=5"}, "VECINO_SERVER_WROKERS");
  ExpectError({"--config", WriteFile("[server]\nwrokers = 5\n")}, {}, "server.wrokers");
  ExpectError({"--config", WriteFile("[sevrer]\nworkers = 5\n")}, {}, "sevrer.workers");
  ExpectError({"--config", WriteFile("workers = 5\n")}, {}, "workers");
  ExpectError({"--config", "/nonexistent"}, {}, "/nonexistent");
  // Empty is not set.
  EXPECT_EQ(ParseInvocation({}, {"VECINO_DATA_DIR="})->config.data_dir, "vecino-data");
  // Not ours: the command line's own variable, and those of other programs.
  EXPECT_TRUE(ParseInvocation({}, {"VECINO_SERVER=host:1", "VECINO_SOURCE_DIR=/x"}).ok());
}

TEST(ConfigTest, BadValuesNameTheirPlaceAndRange) {
  ExpectError({"--workers", "0"}, {}, "flag --workers: \"0\" is not a whole number from 1 to 1024");
  ExpectError({}, {"VECINO_LOG_LEVEL=loud"}, "environment variable VECINO_LOG_LEVEL");
  const std::string file = WriteFile("[grpc]\nmax-message-bytes = \"1TiB\"\n");
  ExpectError({"--config", file}, {}, file + ": grpc.max-message-bytes");
  ExpectError({"--listen", "7700"}, {}, "HOST:PORT");
  ExpectError({"--listen", "host:70000"}, {}, "HOST:PORT");
  ExpectError({"--listen", "off"}, {}, "HOST:PORT");
  ExpectError({"--drain-timeout", "-1s"}, {}, "0s to 1h");
  ExpectError({"--drain-timeout", "5"}, {}, "such as 500ms");
  ExpectError({"--data-dir", ""}, {}, "a path");
  ExpectError({"--config", WriteFile("[server]\nworkers = 5\nworkers = 6\n")}, {}, "workers");
}

TEST(ConfigTest, Units) {
  const auto result =
      ParseInvocation({"--grpc-max-message-bytes", "8MiB", "--drain-timeout", "1m30s",
                       "--admin-listen", "off", "--storage-block-cache-bytes", "10485760"},
                      {});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->config.grpc_max_message_bytes, 8 << 20);
  EXPECT_EQ(result->config.drain_timeout, absl::Seconds(90));
  EXPECT_EQ(result->config.admin_listen, "off");
  EXPECT_EQ(result->config.storage_block_cache_bytes, 10 << 20);
}

TEST(ConfigTest, PrintedConfigReadsBack) {
  const auto odd = ParseInvocation(
      {"--workers", "9", "--data-dir", "/a b/\"c\"", "--log-format", "json", "--listen", "[::1]:0"},
      {});
  ASSERT_TRUE(odd.ok()) << odd.status();
  const auto again = ParseInvocation({"--config", WriteFile(PrintConfig(odd->config))}, {});
  ASSERT_TRUE(again.ok()) << again.status();
  for (const Option& option : Options()) {
    if (option.Name() == "data.dir") continue;  // the file format keeps backslashes
    EXPECT_EQ(option.print(again->config), option.print(odd->config)) << option.Name();
  }
}

TEST(ConfigTest, TheGeneratorsKeyIsReadAndNeverPrinted) {
  const std::string file = WriteFile("  s3cret \nsecond line\n");
  const auto by_file = ParseInvocation({"--generator-key-file", file}, {});
  ASSERT_TRUE(by_file.ok()) << by_file.status();
  EXPECT_EQ(*GeneratorKey(by_file->config), "s3cret");
  const auto by_variable = ParseInvocation({}, {"VECINO_GENERATOR_KEY=s3cret"});
  ASSERT_TRUE(by_variable.ok());
  EXPECT_EQ(*GeneratorKey(by_variable->config), "s3cret");
  const std::string printed = PrintConfig(by_variable->config);
  EXPECT_THAT(printed, testing::Not(HasSubstr("s3cret")));
  EXPECT_THAT(printed, HasSubstr("# key: set, not shown"));
  EXPECT_THAT(PrintConfig(Config()), HasSubstr("# key: not set"));
  EXPECT_TRUE(ParseInvocation({"--config", WriteFile(printed)}, {}).ok());
  EXPECT_EQ(*GeneratorKey(Config()), "");

  ExpectError({"--generator-key-file", "/nonexistent"}, {}, "/nonexistent");
  ExpectError({"--generator-key-file", WriteFile("")}, {}, "generator.key-file");
  ExpectError({"--generator-key-file", WriteFile("\n")}, {}, "is no key");
  ExpectError({"--generator-key-file", WriteFile("s3\x01")}, {}, "is no key");
  ExpectError({"--generator-key-file", file, "--generator-key", "k"}, {}, "both set");
  const auto bad = ParseInvocation({"--generator-key", "s3cret\r\nX: y"}, {});
  ASSERT_FALSE(bad.ok());
  EXPECT_THAT(std::string(bad.status().message()), testing::Not(HasSubstr("s3cret")));
  ExpectError({"--generator-url", "127.0.0.1:8080"}, {}, "flag --generator-url: does not start");
  EXPECT_EQ(ParseInvocation({"--generator-url", "https://h/v1"}, {})->config.generator_url,
            "https://h/v1");
}

TEST(ConfigTest, Actions) {
  EXPECT_EQ(ParseInvocation({"--check-config"}, {})->action, Invocation::Action::kCheckConfig);
  EXPECT_EQ(ParseInvocation({"--print-config"}, {})->action, Invocation::Action::kPrintConfig);
  EXPECT_EQ(ParseInvocation({"--version"}, {})->action, Invocation::Action::kVersion);
  EXPECT_EQ(ParseInvocation({"-h"}, {})->action, Invocation::Action::kHelp);
  EXPECT_FALSE(ParseInvocation({"--check-config", "--workers", "x"}, {}).ok());
}

TEST(ConfigTest, NamesAreUniqueAndHelpShowsThem) {
  std::set<std::string> names;
  const std::string help = HelpText();
  for (const Option& option : Options()) {
    EXPECT_TRUE(names.insert(option.Flag()).second) << option.Flag();
    EXPECT_TRUE(names.insert(option.Environment()).second) << option.Environment();
    EXPECT_THAT(help, HasSubstr(option.Flag() + " "));
    EXPECT_THAT(help, HasSubstr(option.Environment()));
  }
}

TEST(ConfigTest, DocumentedTableAgrees) {
  const char* source = std::getenv("VECINO_SOURCE_DIR");
  ASSERT_NE(source, nullptr) << "run through ctest, or set VECINO_SOURCE_DIR";
  std::ifstream in(std::string(source) + "/docs/operations.md");
  std::stringstream text;
  text << in.rdbuf();
  EXPECT_TRUE(absl::StrContains(text.str(), OptionsMarkdown()))
      << "docs/operations.md should hold this table:\n"
      << OptionsMarkdown();
}

}  // namespace
}  // namespace vecino
