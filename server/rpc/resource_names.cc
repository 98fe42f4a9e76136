#include "server/rpc/resource_names.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "server/engine/types.h"
#include "server/engine/utf8.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

constexpr std::string_view kCollections = "collections/";
constexpr std::string_view kDocuments = "/documents/";
constexpr std::string_view kOperations = "/operations/";
constexpr std::string_view kModels = "models/";
constexpr std::string_view kAliases = "aliases/";
constexpr std::string_view kSnapshots = "snapshots/";
constexpr size_t kMaxCollectionIdBytes = 63;
constexpr size_t kMaxOperationIdBytes = 63;
// Longest part of a bad name that a message repeats.
constexpr size_t kQuoted = 100;

absl::Status BadName(std::string_view field, std::string_view name, std::string_view form) {
  return engine::InvalidField(
      field, Concat("is \"", Printable(name, kQuoted), "\"; it must have the form ", form));
}

}  // namespace

std::string CollectionName(std::string_view collection) { return Concat(kCollections, collection); }

std::string DocumentNameOf(std::string_view collection, std::string_view document) {
  return Concat(kCollections, collection, kDocuments, document);
}

std::string OperationNameOf(std::string_view collection, std::string_view operation) {
  return Concat(kCollections, collection, kOperations, operation);
}

std::string ModelName(std::string_view model) { return Concat(kModels, model); }

std::string AliasName(std::string_view alias) { return Concat(kAliases, alias); }

std::string SnapshotName(std::string_view snapshot) { return Concat(kSnapshots, snapshot); }

std::string SnapshotOperationNameOf(std::string_view snapshot, std::string_view operation) {
  return Concat(kSnapshots, snapshot, kOperations, operation);
}

bool IsOfSnapshot(std::string_view name) { return name.starts_with(kSnapshots); }

absl::Status CheckCollectionId(std::string_view field, std::string_view id) {
  const auto plain = [](char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c); };
  const bool good =
      !id.empty() && id.size() <= kMaxCollectionIdBytes && plain(id[0]) &&
      std::all_of(id.begin(), id.end(), [&](char c) { return plain(c) || c == '-' || c == '_'; });
  if (good) return absl::OkStatus();
  return engine::InvalidField(
      field, Concat("the id \"", Printable(id, kQuoted), "\" is not 1 to ", kMaxCollectionIdBytes,
                    " of a-z, 0-9, - and _, starting with a letter or digit"));
}

absl::Status CheckDocumentId(std::string_view field, std::string_view id) {
  if (id.empty()) return engine::InvalidField(field, "the id is empty");
  if (id.size() > engine::Limits::kMaxDocumentIdBytes) {
    return engine::InvalidField(field, Concat("the id has ", id.size(), " bytes; the limit is ",
                                              engine::Limits::kMaxDocumentIdBytes));
  }
  if (engine::FindInvalidUtf8(id).has_value())
    return engine::InvalidField(field, "the id is not UTF-8");
  if (id.find('\0') != std::string_view::npos) {
    return engine::InvalidField(field, "the id holds a NUL byte");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ParseCollectionName(std::string_view field, std::string_view name) {
  if (!name.starts_with(kCollections)) {
    return BadName(field, name, "collections/{collection}");
  }
  const std::string_view id = name.substr(kCollections.size());
  if (absl::Status status = CheckCollectionId(field, id); !status.ok()) return status;
  return std::string(id);
}

absl::StatusOr<DocumentName> ParseDocumentName(std::string_view field, std::string_view name) {
  const size_t separator = name.find(kDocuments);
  if (separator == std::string_view::npos) {
    return BadName(field, name, "collections/{collection}/documents/{document}");
  }
  auto collection = ParseCollectionName(field, name.substr(0, separator));
  if (!collection.ok()) return collection.status();
  const std::string_view document = name.substr(separator + kDocuments.size());
  if (absl::Status status = CheckDocumentId(field, document); !status.ok()) return status;
  return DocumentName{*std::move(collection), std::string(document)};
}

absl::StatusOr<OperationName> ParseOperationName(std::string_view field, std::string_view name) {
  constexpr std::string_view kForm = "collections/{collection}/operations/{operation}";
  const size_t separator = name.find(kOperations);
  if (separator == std::string_view::npos) return BadName(field, name, kForm);
  const bool of_snapshot = IsOfSnapshot(name);
  const std::string_view parent = name.substr(0, separator);
  auto owner = of_snapshot ? ParseSnapshotName(field, parent) : ParseCollectionName(field, parent);
  if (!owner.ok()) return owner.status();
  const std::string_view id = name.substr(separator + kOperations.size());
  const bool good = !id.empty() && id.size() <= kMaxOperationIdBytes &&
                    std::all_of(id.begin(), id.end(), [](char c) {
                      return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-';
                    });
  if (!good) return BadName(field, name, kForm);
  return OperationName{*std::move(owner), std::string(id), of_snapshot};
}

absl::StatusOr<std::string> ParseAliasName(std::string_view field, std::string_view name) {
  if (!name.starts_with(kAliases)) return BadName(field, name, "aliases/{alias}");
  const std::string_view id = name.substr(kAliases.size());
  if (absl::Status status = CheckCollectionId(field, id); !status.ok()) return status;
  return std::string(id);
}

absl::StatusOr<std::string> ParseSnapshotName(std::string_view field, std::string_view name) {
  if (!IsOfSnapshot(name)) return BadName(field, name, "snapshots/{snapshot}");
  const std::string_view id = name.substr(kSnapshots.size());
  if (absl::Status status = CheckCollectionId(field, id); !status.ok()) return status;
  return std::string(id);
}

absl::StatusOr<std::string> ParseModelName(std::string_view field, std::string_view name) {
  if (!name.starts_with(kModels) || name.size() == kModels.size()) {
    return BadName(field, name, "models/{model}");
  }
  return std::string(name.substr(kModels.size()));
}

}  // namespace vecino::rpc
