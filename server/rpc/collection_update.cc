#include "server/rpc/collection_update.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>

#include "absl/strings/str_split.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "google/protobuf/text_format.h"
#include "server/rpc/conversions.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

using engine::InvalidField;
using google::protobuf::FieldDescriptor;
using google::protobuf::FieldMask;
using google::protobuf::Message;

constexpr std::string_view kRecall = "index_policy.recall_target",
                           kNprobe = "index_policy.parameters.nprobe",
                           kEfSearch = "index_policy.parameters.ef_search",
                           kGraph = "index_policy.parameters.graph";
constexpr std::string_view kChangeable[] = {kRecall, kNprobe, kEfSearch, kGraph};
constexpr std::string_view kOutput[] = {"name", "etag", "create_time", "migration",
                                        "embedding.model_hash"};

constexpr std::string_view kMigrate =
    "MigrateEmbeddings changes it, or make a new collection and point an alias to it";
constexpr std::string_view kMakeAnew =
    "make a new collection, copy the documents and point an alias to it";
struct Fixed {
  std::string_view path;
  std::string_view instead;
};
constexpr Fixed kFixed[] = {
    {"dimension", kMigrate},
    {"metric", kMakeAnew},
    {"embedding.model", kMigrate},
    {"embedding.query_prompt", kMigrate},
    {"embedding.document_prompt", kMigrate},
    {"shard_count", kMakeAnew},
    {"index_policy.kind", kMakeAnew},
    {"index_policy.parameters.nlist", kMakeAnew},
    {"index_policy.parameters.pq_m", kMakeAnew},
    {"index_policy.parameters.pq_bits", kMakeAnew},
    {"index_policy.parameters.hnsw_m", kMakeAnew},
    {"index_policy.parameters.ef_construction", kMakeAnew},
    {"index_policy.parameters.lsh_bits", kMakeAnew},
    {"chunking.max_tokens", kMakeAnew},
    {"chunking.overlap_tokens", kMakeAnew},
};

bool IsBelow(std::string_view path, std::string_view message) {
  return path.size() > message.size() && path.starts_with(message) && path[message.size()] == '.';
}

bool IsPath(std::string_view path) {
  const auto is = [&](std::string_view known) { return known == path || IsBelow(known, path); };
  return std::any_of(std::begin(kChangeable), std::end(kChangeable), is) ||
         std::any_of(std::begin(kOutput), std::end(kOutput), is) ||
         std::any_of(std::begin(kFixed), std::end(kFixed),
                     [&](const Fixed& fixed) { return is(fixed.path); });
}

// A field that holds no message, by its path.
class Leaf {
 public:
  Leaf(const Message& root, std::string_view path) : message_(&root) {
    for (const absl::string_view name : absl::StrSplit(ToAbsl(path), '.')) {
      if (field_ != nullptr) message_ = &message_->GetReflection()->GetMessage(*message_, field_);
      field_ = message_->GetDescriptor()->FindFieldByName(std::string(name));
    }
  }

  // Numbers that are 0 and texts that are empty are not, but where the contract tells them apart.
  bool is_set() const { return message_->GetReflection()->HasField(*message_, field_); }
  std::string Text() const {
    std::string text;
    google::protobuf::TextFormat::PrintFieldValueToString(*message_, field_, -1, &text);
    return text;
  }

 private:
  const Message* message_;
  const FieldDescriptor* field_ = nullptr;
};

// How a field is meant to be changed.
enum class Asked { kNo, kIfSet, kYes };

// whole: what is meant when the mask has the field in a message that it names.
Asked Asks(const FieldMask& mask, std::string_view path, Asked whole) {
  if (mask.paths().empty()) return Asked::kIfSet;
  Asked asked = Asked::kNo;
  for (const std::string& named : mask.paths()) {
    if (named == path) return Asked::kYes;
    if (named == "*" || IsBelow(path, named)) asked = whole;
  }
  return asked;
}

}  // namespace

absl::Status CheckCollectionMask(const FieldMask& mask) {
  for (const std::string& path : mask.paths()) {
    const auto problem = [&](std::string_view what) {
      return InvalidField("update_mask", Concat("names \"", Printable(path, 100), "\"; ", what));
    };
    if (path == "*") {
      if (mask.paths_size() != 1) return problem("that must be its only path");
    } else if (!IsPath(path)) {
      return problem(Concat("what can be changed are ", kRecall, ", ", kNprobe, ", ", kEfSearch,
                            " and ", kGraph, ", or * for all of them"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<engine::CollectionUpdate> ReadCollectionUpdate(
    const v1::UpdateCollectionRequest& request, const engine::CollectionInfo& now) {
  const v1::Collection& given = request.collection();
  const FieldMask& mask = request.update_mask();
  v1::Collection is;
  WriteCollection(now, &is);
  const auto refuse = [](std::string_view path, std::string_view what, std::string_view instead) {
    return InvalidField(Concat("collection.", path),
                        Concat(what, "; it cannot be changed: ", instead));
  };
  for (const auto& [path, instead] : kFixed) {
    const Leaf wanted(given, path), there(is, path);
    // What is left out of a message that is named stays.
    const Asked asked = Asks(mask, path, Asked::kIfSet);
    if (asked == Asked::kNo || (asked == Asked::kIfSet && !wanted.is_set())) continue;
    if (wanted.Text() == there.Text()) continue;
    return refuse(path,
                  Concat("is ", Printable(wanted.Text(), 100), ", and the collection's is ",
                         Printable(there.Text(), 100)),
                  instead);
  }
  if (given.has_chunking() && !is.has_chunking() &&
      Asks(mask, "chunking", Asked::kYes) != Asked::kNo) {
    return refuse("chunking", "is set, and the collection splits no texts", kMakeAnew);
  }

  engine::CollectionUpdate update;
  update.etag = given.etag();
  update.validate_only = request.validate_only();
  const auto changes = [&](std::string_view path) {
    const Asked asked = Asks(mask, path, Asked::kYes);
    return asked == Asked::kYes || (asked == Asked::kIfSet && Leaf(given, path).is_set());
  };
  const v1::IndexPolicy& policy = given.index_policy();
  if (changes(kRecall)) {
    update.recall_target =
        policy.recall_target() != 0 ? policy.recall_target() : engine::IndexSpec().recall_target;
  }
  if (changes(kNprobe)) update.nprobe = policy.parameters().nprobe();
  if (changes(kEfSearch)) update.ef_search = policy.parameters().ef_search();
  if (changes(kGraph)) {
    update.graph = !policy.parameters().has_graph() || policy.parameters().graph();
  }
  return update;
}

}  // namespace vecino::rpc
