// Client's calls about aliases.
#include <utility>

#include "client/conversions.h"
#include "client/impl.h"
#include "client/vecino/client.h"

namespace vecino {
namespace {

using internal::CheckUtf8;
using internal::CollectionName;
using internal::FromProto;
using internal::LastPart;

std::string AliasName(const std::string& id) { return "aliases/" + id; }

Alias ToAlias(const v1::Alias& message) {
  return {.id = LastPart(message.name()),
          .target = LastPart(message.target()),
          .create_time = FromProto(message.create_time()),
          .update_time = FromProto(message.update_time())};
}

}  // namespace

Result<Alias> Client::CreateAlias(const std::string& id, const std::string& target) {
  if (Status status = CheckUtf8(id, "alias_id"); !status.ok()) return status;
  if (Status status = CheckUtf8(target, "alias.target"); !status.ok()) return status;
  v1::CreateAliasRequest request;
  request.set_alias_id(id);
  request.mutable_alias()->set_target(CollectionName(target));
  v1::CreateAliasResponse response;
  int attempts = 0;
  const Status status = impl_->Call(*impl_->collections, &v1::CollectionService::Stub::CreateAlias,
                                    request, &response, &attempts);
  if (status.code() == Code::kAlreadyExists && attempts > 1) {
    // An attempt whose reply was lost may have made it.
    Result<Alias> stored = GetAlias(id);
    if (stored.ok() && stored->target == target) return stored;
  }
  if (!status.ok()) return status;
  return ToAlias(response.alias());
}

Result<Alias> Client::UpdateAlias(const std::string& id, const std::string& target,
                                  const std::string& expected_target, bool allow_missing) {
  if (Status status = CheckUtf8(id, "alias.name"); !status.ok()) return status;
  if (Status status = CheckUtf8(target, "alias.target"); !status.ok()) return status;
  if (Status status = CheckUtf8(expected_target, "expected_target"); !status.ok()) return status;
  v1::UpdateAliasRequest request;
  request.mutable_alias()->set_name(AliasName(id));
  request.mutable_alias()->set_target(CollectionName(target));
  if (!expected_target.empty()) request.set_expected_target(CollectionName(expected_target));
  request.set_allow_missing(allow_missing);
  v1::UpdateAliasResponse response;
  int attempts = 0;
  const Status status = impl_->Call(*impl_->collections, &v1::CollectionService::Stub::UpdateAlias,
                                    request, &response, &attempts);
  if (status.code() == Code::kAborted && attempts > 1) {
    // An attempt whose reply was lost may have changed it.
    Result<Alias> stored = GetAlias(id);
    if (stored.ok() && stored->target == target) return stored;
  }
  if (!status.ok()) return status;
  return ToAlias(response.alias());
}

Result<Alias> Client::GetAlias(const std::string& id) {
  if (Status status = CheckUtf8(id, "name"); !status.ok()) return status;
  v1::GetAliasRequest request;
  request.set_name(AliasName(id));
  v1::GetAliasResponse response;
  const Status status =
      impl_->Call(*impl_->collections, &v1::CollectionService::Stub::GetAlias, request, &response);
  if (!status.ok()) return status;
  return ToAlias(response.alias());
}

Result<std::vector<Alias>> Client::ListAliases() {
  std::vector<Alias> aliases;
  v1::ListAliasesRequest request;
  request.set_page_size(1'000);
  do {
    v1::ListAliasesResponse response;
    const Status status = impl_->Call(
        *impl_->collections, &v1::CollectionService::Stub::ListAliases, request, &response);
    if (!status.ok()) return status;
    for (const v1::Alias& alias : response.aliases()) aliases.push_back(ToAlias(alias));
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return aliases;
}

Status Client::DeleteAlias(const std::string& id) {
  if (Status status = CheckUtf8(id, "name"); !status.ok()) return status;
  v1::DeleteAliasRequest request;
  request.set_name(AliasName(id));
  v1::DeleteAliasResponse response;
  int attempts = 0;
  Status status = impl_->Call(*impl_->collections, &v1::CollectionService::Stub::DeleteAlias,
                              request, &response, &attempts);
  // An attempt whose reply was lost may have deleted it.
  if (status.code() == Code::kNotFound && attempts > 1) return Status();
  return status;
}

}  // namespace vecino
