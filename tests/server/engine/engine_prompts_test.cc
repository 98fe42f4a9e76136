// Collections that choose which of their model's prompts go before queries and documents.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/server/engine/migration_fixture.h"

namespace vecino::engine {
namespace {

using testing::HasSubstr;

class EnginePromptsTest : public EngineMigrationTest {
 protected:
  void SetUp() override {
    encoder_.models[0].prompts["ask"].text = "a: ";
    encoder_.models[0].prompts["passage"].text = "p: ";
    EngineMigrationTest::SetUp();
  }

  absl::StatusOr<CollectionInfo> TryCreate(const std::string& id, const PromptNames& prompts,
                                           std::optional<Chunking> chunking = std::nullopt) {
    CollectionSpec spec;
    spec.id = id;
    spec.model = "fake";
    spec.prompts = prompts;
    spec.chunking = chunking;
    return engine_->CreateCollection(spec, false);
  }
  static std::vector<float> Made(const std::string& text) {
    return FakeEncoder::VectorOf(text, kDimension);
  }
  static std::vector<float> Unit(const std::string& text) {
    std::vector<float> vector = Made(text);
    EXPECT_TRUE(PrepareVector("vector", Metric::kCosine, kDimension, &vector).ok());
    return vector;
  }
  // The score of the document `id`.
  float Score(const SearchRequest& request, const std::string& id) {
    const auto found = engine_->Search("c", request, {});
    EXPECT_TRUE(found.ok()) << found.status();
    for (const SearchHit& hit : found.ok() ? found->hits : std::vector<SearchHit>()) {
      if (hit.document.id == id) return hit.score;
    }
    ADD_FAILURE() << id << " is not found";
    return 0;
  }
  // That `c` embeds documents with `p: ` and queries with `a: ` before them, on every way.
  void ExpectTheChosenPrompts() {
    ASSERT_TRUE(Put("c", "upserted", "one").status.ok());
    EXPECT_EQ(Get("upserted")->vector, Unit("p: one"));
    const auto change = [](const storage::Document* now) -> absl::StatusOr<DocumentWrite> {
      DocumentWrite write = Text(now->id, "two");
      write.document.metadata = now->metadata;
      return write;
    };
    ASSERT_TRUE(engine_->Modify("c", "upserted", change, Truncate::kAuto, {}).ok());
    EXPECT_EQ(Get("upserted")->vector, Unit("p: two"));
    auto stream = engine_->OpenIngest("c", "", Truncate::kAuto);
    ASSERT_TRUE(stream.ok()) << stream.status();
    std::vector<IngestWrite> items(1);
    items[0].item = 1;
    items[0].write = Text("streamed", "three");
    ASSERT_TRUE((*stream)->Prepare(absl::MakeSpan(items), {}).ok());
    ASSERT_TRUE((*stream)->Commit(absl::MakeSpan(items), 0, {}).ok());
    EXPECT_EQ(Get("streamed")->vector, Unit("p: three"));

    Upsert("c", {Vector("asked", Made("a: query"))});
    const TextQuery text{"query"};
    EXPECT_NEAR(Score({.query = text}, "asked"), 1, 1e-5);
    EXPECT_NEAR(Score({.query = ExpressionQuery{{{text}}}}, "asked"), 1, 1e-5);
    HybridQuery hybrid{text, "nothing", {.method = Fusion::Method::kWeightedScores}};
    hybrid.fusion.dense_weight = 1;
    EXPECT_EQ(Find("c", {.query = hybrid, .top_k = 1}), std::vector<std::string>{"asked"});
    const std::vector<SearchRequest> requests = {{.query = text}};
    const auto batch = engine_->SearchBatch("c", requests, kNoLimit, {});
    ASSERT_TRUE(batch.ok() && batch->front().ok());
    EXPECT_EQ(batch->front()->hits.at(0).document.id, "asked");
    EXPECT_NEAR(batch->front()->hits[0].score, 1, 1e-5);
  }
};

TEST_F(EnginePromptsTest, DocumentsGetOneAndQueriesTheOtherAlsoAfterReopening) {
  const auto info = TryCreate("c", {.query = "ask", .document = "passage"});
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->spec.prompts, (PromptNames{"ask", "passage"}));
  ExpectTheChosenPrompts();
  Reopen();
  EXPECT_EQ(engine_->GetCollection("c")->spec.prompts, (PromptNames{"ask", "passage"}));
  EXPECT_EQ(engine_->ListCollections().at(0).spec.prompts, (PromptNames{"ask", "passage"}));
  ExpectTheChosenPrompts();
}

TEST_F(EnginePromptsTest, WhatIsLeftOutIsTheDefault) {
  EXPECT_EQ(TryCreate("none", {})->spec.prompts, (PromptNames{"query", "document"}));
  EXPECT_EQ(TryCreate("same", {.query = "query", .document = "document"})->spec.prompts,
            (PromptNames{"query", "document"}));
  EXPECT_EQ(TryCreate("c", {.document = "passage"})->spec.prompts,
            (PromptNames{"query", "passage"}));
  const auto records = store_.ListCollections();
  ASSERT_TRUE(records.ok() && records->size() == 3u);
  for (const storage::CollectionRecord& record : *records) {
    EXPECT_EQ(record.query_prompt, "") << "as in records from before there were names";
    EXPECT_EQ(record.document_prompt, record.id == "c" ? "passage" : "");
  }
  Create("vectors", 1, Metric::kCosine, "");
  EXPECT_EQ(engine_->GetCollection("vectors")->spec.prompts, PromptNames());
}

TEST_F(EnginePromptsTest, UnknownNamesAreRefusedWithThoseThereAre) {
  const absl::Status query = TryCreate("c", {.query = "clustering"}).status();
  EXPECT_EQ(query.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldOf(query), "collection.embedding.query_prompt");
  EXPECT_THAT(std::string(query.message()),
              HasSubstr("no prompt 'clustering'; it has: ask, document, passage, query"));
  EXPECT_EQ(FieldOf(TryCreate("c", {.document = "Passage"}).status()),
            "collection.embedding.document_prompt");
  CollectionSpec spec;
  spec.id = "c";
  spec.dimension = 3;
  spec.prompts.query = "query";
  EXPECT_EQ(FieldOf(engine_->CreateCollection(spec, false).status()),
            "collection.embedding.query_prompt");
  spec.prompts = {.document = "document"};
  EXPECT_EQ(FieldOf(engine_->CreateCollection(spec, false).status()),
            "collection.embedding.document_prompt");
  EXPECT_TRUE(engine_->ListCollections().empty());
}

TEST_F(EnginePromptsTest, TheTokensOfTheChosenOneCountInPassages) {
  encoder_.models[0].max_tokens = 64;  // a byte each
  encoder_.models[0].prompts["passage"].tokens = 30;
  const auto tokens = [&](int most, const std::string& document) {
    return TryCreate("c", {.document = document}, Chunking{.max_tokens = most, .overlap_tokens = 0})
        .status();
  };
  EXPECT_EQ(FieldOf(tokens(37, "passage")), "collection.chunking.max_tokens");
  EXPECT_THAT(std::string(tokens(37, "passage").message()), HasSubstr("30 are its own"));
  ASSERT_TRUE(tokens(37, "").ok());
  ASSERT_TRUE(engine_->DeleteCollection("c", "").ok());
  ASSERT_TRUE(tokens(62, "passage").ok());
  // 32 bytes are left of each passage, and 62 would take both sentences.
  const std::string first = "The first sentence has its end. ", second = "Another one here. ";
  ASSERT_TRUE(Put("c", "x", first + second).status.ok());
  ASSERT_EQ(Get("x")->passages.size(), 2u);
  EXPECT_EQ(Get("x")->passages[0].end, first.size());
}

TEST_F(EnginePromptsTest, EmbedTextsTakesAName) {
  const std::vector<std::string> texts = {"one"};
  const auto embedded = engine_->Embed({.model = "fake", .texts = texts, .prompt = "passage"}, {});
  ASSERT_TRUE(embedded.ok()) << embedded.status();
  EXPECT_EQ(embedded->results[0].vector, Made("p: one"));
  EXPECT_EQ(encoder_.last_lane, encoder::Lane::kBulk);
  ASSERT_TRUE(engine_
                  ->Embed({.model = "fake",
                           .texts = texts,
                           .input_type = encoder::InputType::kQuery,
                           .prompt = "passage"},
                          {})
                  .ok());
  EXPECT_EQ(encoder_.last_lane, encoder::Lane::kQuery) << "the name does not say what it is for";
  const auto unknown = engine_->Embed({.model = "fake", .texts = texts, .prompt = "none"}, {});
  EXPECT_EQ(FieldOf(unknown.status()), "prompt");
}

TEST_F(EnginePromptsTest, AMigrationTakesItsOwn) {
  ASSERT_TRUE(TryCreate("c", {.query = "ask"}).ok());
  Fill(40);
  EXPECT_EQ(Get("d3")->vector, Unit("text 3"));
  const auto refused = [&](const PromptNames& prompts) {
    MigrationRequest request{.model = "fake"};
    request.prompts = prompts;
    return engine_->MigrateEmbeddings("c", request).status();
  };
  EXPECT_EQ(FieldOf(refused({.query = "none"})), "embedding.query_prompt");
  EXPECT_EQ(FieldOf(refused({.document = "none"})), "embedding.document_prompt");
  EXPECT_EQ(refused({.query = "ask", .document = "document"}).code(),
            absl::StatusCode::kFailedPrecondition)
      << "it has these";

  MigrationRequest request{.model = "fake"};
  request.prompts.document = "passage";
  ASSERT_TRUE(MigrateAndWait(request).ok());
  EXPECT_EQ(Info().old_side.prompts, (PromptNames{"ask", "document"}));
  EXPECT_EQ(Info().new_side.prompts, (PromptNames{"query", "passage"}));
  ASSERT_TRUE(Info().overlap.has_value());
  EXPECT_LT(Info().overlap->overlap, 0.9) << "each side is asked with prompts of its own";
  Reopen();
  ASSERT_TRUE(Put("c", "d3", "changed").status.ok());
  EXPECT_EQ(Get("d3")->vector, Unit("changed"));
  ASSERT_TRUE(Switch(MigrationSide::kNew).ok());
  EXPECT_EQ(engine_->GetCollection("c")->spec.prompts, (PromptNames{"query", "passage"}));
  EXPECT_EQ(Get("d3")->vector, Unit("p: changed"));
  EXPECT_EQ(Get("d4")->vector, Unit("p: text 4"));
  Upsert("c", {Vector("asked", Made("query"))});
  EXPECT_NEAR(Score({.query = TextQuery{"query"}}, "asked"), 1, 1e-5);
  ASSERT_TRUE(Delete("c", "asked").status.ok());  // has no text for the other side
  ASSERT_TRUE(Switch(MigrationSide::kOld).ok());
  EXPECT_EQ(engine_->GetCollection("c")->spec.prompts, (PromptNames{"ask", "document"}));
  EXPECT_EQ(Get("d4")->vector, Unit("text 4"));
}

}  // namespace
}  // namespace vecino::engine
