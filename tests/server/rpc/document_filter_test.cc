// Handlers over documents that a filter lets pass.
#include "tests/server/rpc/handlers_fixture.h"

namespace vecino::rpc {
namespace {

TEST_F(HandlersTest, PurgeAndPatchSayFirstWhatTheyWouldDo) {
  engine_.documents["a"] = Stored("a", "text");
  engine_.documents["b"] = Stored("b", "text");
  v1::PurgeDocumentsRequest request;
  google::longrunning::Operation operation;
  request.set_parent("collections/c");
  ExpectField(documents_.PurgeDocuments(request, &operation, context_), "filter");
  request.set_filter("x = 1");
  ASSERT_TRUE(documents_.PurgeDocuments(request, &operation, context_).ok());
  EXPECT_TRUE(operation.done());
  EXPECT_EQ(operation.name(), "");
  v1::PurgeDocumentsResponse purged;
  ASSERT_TRUE(operation.response().UnpackTo(&purged));
  EXPECT_EQ(purged.purge_count(), 2);
  ASSERT_EQ(purged.purge_sample_size(), 2);
  EXPECT_EQ(purged.purge_sample(0), "collections/c/documents/a");
  EXPECT_EQ(engine_.filter, "x = 1");
  EXPECT_EQ(engine_.patch, nullptr);

  request.set_force(true);
  engine_.change.id = "o-7";
  engine_.change.collection = "c";
  engine_.change.type = engine::Operation::Type::kPurge;
  engine_.change.parts = {{.shard = 0, .rows_done = 3}, {.shard = 1, .rows_done = 4}};
  engine_.change.done = true;
  operation.Clear();
  ASSERT_TRUE(documents_.PurgeDocuments(request, &operation, context_).ok());
  EXPECT_EQ(operation.name(), "collections/c/operations/o-7");
  ASSERT_TRUE(operation.response().UnpackTo(&purged));
  EXPECT_EQ(purged.purge_count(), 7);

  v1::PatchDocumentsRequest patch;
  patch.set_parent("collections/c");
  patch.set_filter("*");
  ExpectField(documents_.PatchDocuments(patch, &operation, context_), "metadata_patch");
  auto& fields = *patch.mutable_metadata_patch()->mutable_fields();
  fields["gone"].set_null_value(google::protobuf::NULL_VALUE);
  fields["n"].set_number_value(5);
  (*fields["o"].mutable_struct_value()->mutable_fields())["k"].set_string_value("v");
  patch.set_force(true);
  ASSERT_TRUE(documents_.PatchDocuments(patch, &operation, context_).ok());
  ASSERT_NE(engine_.patch, nullptr);
  EXPECT_EQ(*engine_.patch(R"({"gone":1,"n":2,"o":{"a":1},"z":[1]})"),
            R"({"n":5,"o":{"a":1,"k":"v"},"z":[1]})");
  EXPECT_EQ(*engine_.patch(""), R"({"n":5,"o":{"k":"v"}})");
  engine_.failure = absl::NotFoundError("no such collection");
  EXPECT_EQ(documents_.PatchDocuments(patch, &operation, context_).code(),
            absl::StatusCode::kNotFound);
}

TEST_F(HandlersTest, FacetsCountValues) {
  v1::FacetDocumentsRequest request;
  v1::FacetDocumentsResponse response;
  request.set_parent("collections/c");
  request.add_fields("lang");
  request.set_filter("x = 1");
  engine_.facets = {{.field = "lang",
                     .values = {{std::string("en"), 3}, {2.5, 2}, {true, 1}},
                     .distinct_values = 9,
                     .documents = 12}};
  ASSERT_TRUE(documents_.FacetDocuments(request, &response, context_).ok());
  EXPECT_EQ(engine_.facet_limit, 10);
  EXPECT_EQ(engine_.facet_fields, std::vector<std::string>{"lang"});
  ASSERT_EQ(response.facets_size(), 1);
  EXPECT_EQ(response.facets(0).values(0).value().string_value(), "en");
  EXPECT_EQ(response.facets(0).values(1).value().number_value(), 2.5);
  EXPECT_TRUE(response.facets(0).values(2).value().bool_value());
  EXPECT_EQ(response.facets(0).values(0).count(), 3);
  EXPECT_EQ(response.facets(0).distinct_values(), 9);
  EXPECT_EQ(response.facets(0).documents(), 12);
}

}  // namespace
}  // namespace vecino::rpc
