#include "server/rpc/alias_handlers.h"

#include <algorithm>
#include <string>
#include <vector>

#include "server/rpc/conversions.h"
#include "server/rpc/page_token.h"
#include "server/rpc/resource_names.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

constexpr char kListAliases[] = "ListAliases";

void WriteAlias(const engine::AliasInfo& info, v1::Alias* out) {
  out->set_name(AliasName(info.id));
  out->set_target(CollectionName(info.target));
  WriteTime(info.create_time, out->mutable_create_time());
  WriteTime(info.update_time, out->mutable_update_time());
}

}  // namespace

absl::Status AliasHandlers::CreateAlias(const v1::CreateAliasRequest& request,
                                        v1::CreateAliasResponse* response,
                                        const engine::CallContext&) {
  if (absl::Status status = CheckCollectionId("alias_id", request.alias_id()); !status.ok()) {
    return status;
  }
  if (!request.has_alias()) {
    return engine::InvalidField("alias", "is missing; its target says what it points to");
  }
  if (!request.alias().name().empty() && request.alias().name() != AliasName(request.alias_id())) {
    return engine::InvalidField(
        "alias.name", Concat("is \"", Printable(request.alias().name(), 100),
                             "\"; leave it empty or set ", AliasName(request.alias_id())));
  }
  auto target = ParseCollectionName("alias.target", request.alias().target());
  if (!target.ok()) return target.status();
  auto info = engine_.CreateAlias(request.alias_id(), *target);
  if (!info.ok()) return info.status();
  WriteAlias(*info, response->mutable_alias());
  return absl::OkStatus();
}

absl::Status AliasHandlers::UpdateAlias(const v1::UpdateAliasRequest& request,
                                        v1::UpdateAliasResponse* response,
                                        const engine::CallContext&) {
  if (!request.has_alias()) return engine::InvalidField("alias", "is missing");
  auto id = ParseAliasName("alias.name", request.alias().name());
  if (!id.ok()) return id.status();
  auto target = ParseCollectionName("alias.target", request.alias().target());
  if (!target.ok()) return target.status();
  engine::AliasUpdate update{.id = *std::move(id),
                             .target = *std::move(target),
                             .expected_target = "",
                             .allow_missing = request.allow_missing()};
  if (!request.expected_target().empty()) {
    auto expected = ParseCollectionName("expected_target", request.expected_target());
    if (!expected.ok()) return expected.status();
    update.expected_target = *std::move(expected);
  }
  auto info = engine_.UpdateAlias(update);
  if (!info.ok()) return info.status();
  WriteAlias(*info, response->mutable_alias());
  return absl::OkStatus();
}

absl::Status AliasHandlers::GetAlias(const v1::GetAliasRequest& request,
                                     v1::GetAliasResponse* response, const engine::CallContext&) {
  auto id = ParseAliasName("name", request.name());
  if (!id.ok()) return id.status();
  auto info = engine_.GetAlias(*id);
  if (!info.ok()) return info.status();
  WriteAlias(*info, response->mutable_alias());
  return absl::OkStatus();
}

absl::Status AliasHandlers::ListAliases(const v1::ListAliasesRequest& request,
                                        v1::ListAliasesResponse* response,
                                        const engine::CallContext&) {
  auto page_size = ReadPageSize(request.page_size());
  if (!page_size.ok()) return page_size.status();
  PagePosition position;
  if (!request.page_token().empty()) {
    auto read = ReadPageToken(kListAliases, "", request.page_token());
    if (!read.ok()) return read.status();
    position = *std::move(read);
  }
  const std::vector<engine::AliasInfo> all = engine_.ListAliases();
  auto next = std::upper_bound(
      all.begin(), all.end(), position.after_id,
      [](const std::string& id, const engine::AliasInfo& info) { return id < info.id; });
  for (; next != all.end() && response->aliases_size() < *page_size; ++next) {
    WriteAlias(*next, response->add_aliases());
  }
  if (next != all.end()) {
    response->set_next_page_token(
        MakePageToken(kListAliases, "", {.shard = 0, .after_id = std::prev(next)->id}));
  }
  return absl::OkStatus();
}

absl::Status AliasHandlers::DeleteAlias(const v1::DeleteAliasRequest& request,
                                        v1::DeleteAliasResponse*, const engine::CallContext&) {
  auto id = ParseAliasName("name", request.name());
  if (!id.ok()) return id.status();
  absl::Status status = engine_.DeleteAlias(*id);
  if (absl::IsNotFound(status) && request.allow_missing()) return absl::OkStatus();
  return status;
}

}  // namespace vecino::rpc
