#include "client/cli/document_digest.h"

#include <gtest/gtest.h>

#include <cmath>

namespace vecino::cli {
namespace {

Document Of(const std::string& id, const std::string& text, const std::string& metadata = "",
            std::vector<float> vector = {}) {
  Document document;
  document.id = id;
  document.text = text;
  document.metadata_json = metadata;
  document.vector = std::move(vector);
  return document;
}

std::string DigestOf(const std::vector<Document>& documents) {
  DocumentDigest digest;
  for (const Document& document : documents) digest.Add(document);
  EXPECT_EQ(digest.documents(), static_cast<int64_t>(documents.size()));
  return digest.Hex();
}

TEST(DocumentDigest, IsASumOfSha256) {
  EXPECT_EQ(DigestOf({}), std::string(64, '0'));
  // printf '{"id":"a","text":"hi"}\n' | sha256sum, its bytes read as a little-endian number.
  EXPECT_EQ(DigestOf({Of("a", "hi")}),
            "c87c163dda267752c15b282dd284e7369d03c87a15bfb8d415c8330ceaa15637");
  EXPECT_EQ(DigestOf({Of("a", "hi"), Of("b", "", "", {0.5F, -2})}),
            "52d77498ce860f7af6f8881e4e250c038e1301a12310e2a7c1fee992b69a6419");
}

TEST(DocumentDigest, OrderPartsAndVersionsDoNotMatter) {
  const Document a = Of("a", "x", R"({"n":1,"m":{"q":1.5,"p":[1,null]}})");
  Document b = Of("b", "y", "", {1, 2, 3});
  const std::string one = DigestOf({a, b});
  b.version = 7;
  b.update_time = std::chrono::system_clock::now();
  const Document same = Of("a", "x", R"({"m":{"p":[1,null],"q":1.5},"n":1})");
  EXPECT_EQ(DigestOf({b, same}), one);
  DocumentDigest first, second;
  first.Add(b);
  second.Add(a);
  second.Add(first);
  EXPECT_EQ(second.Hex(), one);
  EXPECT_EQ(second.documents(), 2);
}

TEST(DocumentDigest, AnyDifferenceShows) {
  const std::string one = DigestOf({Of("a", "x", R"({"n":1})", {1, 2})});
  for (const Document& other :
       {Of("b", "x", R"({"n":1})", {1, 2}), Of("a", "y", R"({"n":1})", {1, 2}),
        Of("a", "x", R"({"n":2})", {1, 2}), Of("a", "x", "", {1, 2}),
        Of("a", "x", R"({"n":1})", {1, std::nextafter(2.0F, 3.0F)}), Of("a", "x", R"({"n":1})")}) {
    EXPECT_NE(DigestOf({other}), one) << other.id << other.text << other.metadata_json;
  }
  EXPECT_NE(DigestOf({Of("a", ""), Of("a", "")}), DigestOf({Of("a", "")}));
}

}  // namespace
}  // namespace vecino::cli
