#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "encoder/encoder.h"

namespace vecino::encoder {
namespace {

using testing::HasSubstr;

TEST(FindPromptTest, AnUnknownNameIsToldThoseThereAre) {
  ModelInfo info{.name = "m"};
  info.prompts = {{"query", {.text = "q: ", .tokens = 4}}, {"document", {.text = "", .tokens = 2}}};
  EXPECT_EQ(FindPrompt(info, "query")->text, "q: ");
  EXPECT_EQ(FindPrompt(info, "document")->tokens, 2);
  for (const char* name : {"", "Query", "query "}) {
    const absl::Status status = FindPrompt(info, name).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(
        std::string(status.message()),
        HasSubstr("model m has no prompt '" + std::string(name) + "'; it has: document, query"));
  }
}

TEST(FindPromptTest, OfManyNamesOnlyTheFirstAreTold) {
  ModelInfo info{.name = "m"};
  for (int i = 10; i < 74; ++i) info.prompts[std::to_string(i) + std::string(62, 'n')].tokens = i;
  EXPECT_EQ(FindPrompt(info, "73" + std::string(62, 'n'))->tokens, 73);
  const absl::Status status = FindPrompt(info, std::string(1 << 20, 'x')).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(" and 57 more"));
  EXPECT_LT(status.message().size(), 1000u);
}

}  // namespace
}  // namespace vecino::encoder
