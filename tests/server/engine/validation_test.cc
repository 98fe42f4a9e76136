#include "server/engine/validation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "absl/strings/str_cat.h"

namespace vecino::engine {
namespace {

using testing::HasSubstr;

void ExpectField(const absl::Status& status, const std::string& field, const std::string& words) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_EQ(FieldOf(status), field);
  EXPECT_THAT(std::string(status.message()), HasSubstr(words));
}

TEST(Validation, BatchSize) {
  ExpectField(CheckBatchSize("ids", 0), "ids", "has 0 entries, must have 1 to 1000");
  EXPECT_TRUE(CheckBatchSize("ids", 1).ok());
  EXPECT_TRUE(CheckBatchSize("ids", 1000).ok());
  ExpectField(CheckBatchSize("ids", 1001), "ids", "has 1001 entries");
}

TEST(Validation, CollectionId) {
  for (const std::string& good :
       {std::string("a"), std::string("0"), std::string("a-b_c9"), std::string(63, 'x')}) {
    EXPECT_TRUE(CheckCollectionId("collection_id", good).ok()) << good;
  }
  for (const std::string& bad :
       {std::string(), std::string("-a"), std::string("_a"), std::string("A"), std::string("a b"),
        std::string("a/b"), std::string("\xc3\xa9"), std::string("\xff"), std::string(64, 'x')}) {
    ExpectField(CheckCollectionId("collection_id", bad), "collection_id", "1 to 63 characters");
  }
}

TEST(Validation, DocumentId) {
  EXPECT_TRUE(CheckDocumentId("id", "a/b c\n\xf0\x9f\x95\xb7").ok());
  EXPECT_TRUE(CheckDocumentId("id", std::string(512, 'x')).ok());
  ExpectField(CheckDocumentId("id", ""), "id", "has 0 bytes, must have 1 to 512");
  ExpectField(CheckDocumentId("id", std::string(513, 'x')), "id", "has 513 bytes");
  ExpectField(CheckDocumentId("id", std::string("a\0b", 3)), "id", "NUL byte at offset 1");
  ExpectField(CheckDocumentId("id", "ab\xff"), "id", "byte 0xff at offset 2");
}

TEST(Validation, Document) {
  storage::Document document;
  document.id = "x";
  document.text.assign(1 << 20, 'a');
  document.metadata.assign(64 << 10, ' ');
  EXPECT_TRUE(CheckDocument("documents[7]", document).ok());
  document.metadata += ' ';
  ExpectField(CheckDocument("documents[7]", document), "documents[7].metadata",
              "65537 bytes as JSON, may have 65536");
  document.text += 'a';
  ExpectField(CheckDocument("documents[7]", document), "documents[7].text",
              "1048577 bytes, may have 1048576");
  document.text = "\xc3";
  ExpectField(CheckDocument("documents[7]", document), "documents[7].text", "not UTF-8");
  document.id = "";
  ExpectField(CheckDocument("documents[7]", document), "documents[7].id", "0 bytes");
}

TEST(Validation, TopK) {
  EXPECT_TRUE(CheckTopK("top_k", 1).ok());
  EXPECT_TRUE(CheckTopK("top_k", 1000).ok());
  ExpectField(CheckTopK("top_k", 0), "top_k", "is 0, must be 1 to 1000");
  ExpectField(CheckTopK("top_k", -5), "top_k", "is -5");
  ExpectField(CheckTopK("top_k", 1001), "top_k", "is 1001");
}

IndexSpec Spec(IndexKind kind, const std::function<void(IndexSpec*)>& change = nullptr) {
  IndexSpec spec;
  spec.kind = kind;
  if (change) change(&spec);
  return spec;
}

TEST(Validation, IndexSpecRanges) {
  using enum IndexKind;
  for (const IndexKind kind : {kAuto, kFlat, kIvfFlat, kIvfSq8, kIvfPq, kHnsw, kLsh}) {
    EXPECT_TRUE(CheckIndexSpec(Spec(kind), 384).ok());
  }
  const std::string policy = "collection.index_policy.";
  const std::string parameters = policy + "parameters.";
  for (const double recall : {0.0, -0.1, 1.01, std::nan("")}) {
    ExpectField(CheckIndexSpec(Spec(kAuto, [&](auto* s) { s->recall_target = recall; }), 384),
                policy + "recall_target", "must be 1e-06 to 1");
  }
  const struct {
    IndexKind kind;
    int IndexSpec::*member;
    const char* name;
    int least, most;
  } ranges[] = {{kAuto, &IndexSpec::nlist, "nlist", 1, 65536},
                {kIvfFlat, &IndexSpec::nlist, "nlist", 1, 65536},
                {kIvfSq8, &IndexSpec::nprobe, "nprobe", 1, 65536},
                {kIvfPq, &IndexSpec::pq_m, "pq_m", 1, 384},
                {kIvfPq, &IndexSpec::pq_bits, "pq_bits", 4, 8},
                {kAuto, &IndexSpec::hnsw_m, "hnsw_m", 2, 128},
                {kHnsw, &IndexSpec::hnsw_m, "hnsw_m", 2, 128},
                {kHnsw, &IndexSpec::ef_construction, "ef_construction", 4, 4096},
                {kHnsw, &IndexSpec::ef_search, "ef_search", 1, 4096},
                {kLsh, &IndexSpec::lsh_bits, "lsh_bits", 8, 16384}};
  for (const auto& range : ranges) {
    const auto check = [&](IndexKind kind, int value) {
      return CheckIndexSpec(Spec(kind, [&](auto* s) { s->*range.member = value; }), 384);
    };
    EXPECT_TRUE(check(range.kind, range.least).ok()) << range.name;
    EXPECT_TRUE(check(range.kind, range.most).ok()) << range.name;
    ExpectField(check(range.kind, range.most + 1), parameters + range.name,
                absl::StrCat("is ", range.most + 1, ", must be ", range.least, " to ", range.most));
    ExpectField(check(range.kind, -1), parameters + range.name, "is -1");
    if (range.least > 1) {
      ExpectField(check(range.kind, range.least - 1), parameters + range.name, "must be");
    }
    ExpectField(check(kFlat, range.least), parameters + range.name,
                "an index of kind FLAT has no such parameter");
  }
}

TEST(Validation, IndexSpecParametersGoTogether) {
  using enum IndexKind;
  ExpectField(CheckIndexSpec(Spec(kIvfPq, [](auto* s) { s->pq_m = 5; }), 384),
              "collection.index_policy.parameters.pq_m", "does not divide the dimension 384");
  ExpectField(CheckIndexSpec(Spec(kLsh, [](auto* s) { s->lsh_bits = 12; }), 384),
              "collection.index_policy.parameters.lsh_bits", "multiple of 8");
  ExpectField(CheckIndexSpec(Spec(kIvfFlat, [](auto* s) { s->nlist = 10, s->nprobe = 11; }), 384),
              "collection.index_policy.parameters.nprobe", "more than the 10 lists");
  ExpectField(CheckIndexSpec(Spec(kHnsw, [](auto* s) { s->graph = false; }), 384),
              "collection.index_policy.parameters.graph", "only AUTO");
  EXPECT_TRUE(CheckIndexSpec(Spec(kAuto, [](auto* s) { s->graph = false; }), 384).ok());
  ExpectField(CheckIndexSpec(Spec(kHnsw, [](auto* s) { s->lsh_bits = 8; }), 384),
              "collection.index_policy.parameters.lsh_bits", "it is one of LSH");
}

TEST(Validation, Effort) {
  SearchRequest request;
  EXPECT_TRUE(CheckEffort(request).ok());
  request.recall_target = 1.5;
  ExpectField(CheckEffort(request), "recall_target", "is 1.5");
  request.recall_target = 0.99;
  EXPECT_TRUE(CheckEffort(request).ok());
  request.nprobe = 5;
  ExpectField(CheckEffort(request), "parameters.nprobe", "no sense with recall_target");
  request.recall_target = 0;
  request.ef_search = 4096;
  request.rerank = 65536;
  EXPECT_TRUE(CheckEffort(request).ok());
  request.exact = true;
  ExpectField(CheckEffort(request), "parameters.nprobe", "no sense with exact");
  request.exact = false;
  request.ef_search = 4097;
  ExpectField(CheckEffort(request), "parameters.ef_search", "must be 1 to 4096");
  request.ef_search = 0;
  request.rerank = -1;
  ExpectField(CheckEffort(request), "parameters.rerank", "is -1");
}

TEST(Validation, Shards) {
  EXPECT_EQ(*CheckShards("shards", {}, 3), (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(*CheckShards("shards", {2, 0, 2}, 3), (std::vector<int>{0, 2}));
  ExpectField(CheckShards("shards", {0, 3}, 3).status(), "shards[1]", "has shards 0 to 2");
  ExpectField(CheckShards("shards", {-1}, 3).status(), "shards[0]", "is -1");
}

TEST(Validation, VectorsMustHaveTheDimensionAndBeFinite) {
  for (const Metric metric : {Metric::kCosine, Metric::kDot, Metric::kL2}) {
    std::vector<float> v = {1, 2};
    ExpectField(PrepareVector("v", metric, 3, &v), "v",
                "has 2 values, the collection's dimension is 3");
    v = {1, std::numeric_limits<float>::quiet_NaN(), 2};
    ExpectField(PrepareVector("v", metric, 3, &v), "v", "value 1 is nan");
    v = {1, 2, -std::numeric_limits<float>::infinity()};
    ExpectField(PrepareVector("v", metric, 3, &v), "v", "value 2 is -inf");
  }
}

TEST(Validation, CosineNormalisesWhateverTheScale) {
  const float largest = std::numeric_limits<float>::max();
  const float smallest = std::numeric_limits<float>::denorm_min();
  for (const float scale : {1.0f, largest, smallest, 1e-30f}) {
    std::vector<float> v = {scale, 0, -scale};
    ASSERT_TRUE(PrepareVector("v", Metric::kCosine, 3, &v).ok()) << scale;
    EXPECT_NEAR(v[0], std::sqrt(0.5), 1e-6);
    EXPECT_EQ(v[1], 0);
    EXPECT_NEAR(v[2], -std::sqrt(0.5), 1e-6);
  }
  std::vector<float> zero = {0, -0.0f};
  ExpectField(PrepareVector("v", Metric::kCosine, 2, &zero), "v", "all zeros");
}

TEST(Validation, OtherMetricsKeepVectorsAndRefuseOverflow) {
  for (const Metric metric : {Metric::kDot, Metric::kL2}) {
    std::vector<float> v = {3, 0, -4e17f};
    ASSERT_TRUE(PrepareVector("v", metric, 3, &v).ok());
    EXPECT_EQ(v, (std::vector<float>{3, 0, -4e17f}));
    v = {0, 0, 0};
    EXPECT_TRUE(PrepareVector("v", metric, 3, &v).ok());
    v = {0, 1.1e18f, 0};
    ExpectField(PrepareVector("v", metric, 3, &v), "v", "may have 1e+18 at most");
  }
}

}  // namespace
}  // namespace vecino::engine
