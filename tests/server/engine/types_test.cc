#include "server/engine/types.h"

#include <gtest/gtest.h>

namespace vecino::engine {
namespace {

TEST(Types, InvalidFieldCarriesThePath) {
  const absl::Status status = InvalidField("documents[3].vector", "is wrong");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "documents[3].vector: is wrong");
  EXPECT_EQ(FieldOf(status), "documents[3].vector");
}

TEST(Types, OtherStatusesNameNoField) {
  EXPECT_EQ(FieldOf(absl::InvalidArgumentError("x: y")), "");
  EXPECT_EQ(FieldOf(absl::OkStatus()), "");
}

TEST(Types, OnlyL2FallsWithSimilarity) {
  EXPECT_TRUE(HigherIsBetter(Metric::kCosine));
  EXPECT_TRUE(HigherIsBetter(Metric::kDot));
  EXPECT_FALSE(HigherIsBetter(Metric::kL2));
}

}  // namespace
}  // namespace vecino::engine
