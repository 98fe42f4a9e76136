#include "server/rpc/openapi_schema.h"

#include <nlohmann/json.hpp>

#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::OneofDescriptor;
using Json = nlohmann::ordered_json;

Json Reference(const std::string& name) {
  return {{"$ref", Concat("#/components/schemas/", name)}};
}

Json EnumSchema(const EnumDescriptor& type, Json* schemas) {
  if (type.full_name() == "google.protobuf.NullValue") return {{"nullable", true}};
  if (schemas->contains(type.full_name())) return Reference(type.full_name());
  std::string description = CommentOf(type);
  Json names = Json::array();
  for (int i = 0; i < type.value_count(); ++i) {
    names.push_back(type.value(i)->name());
    if (const std::string comment = CommentOf(*type.value(i)); !comment.empty()) {
      description += Concat("\n- `", type.value(i)->name(), "`: ", comment);
    }
  }
  (*schemas)[type.full_name()] = {{"type", "string"}, {"enum", names}};
  if (!description.empty()) (*schemas)[type.full_name()]["description"] = description;
  return Reference(type.full_name());
}

// One value of a field, an element when it is repeated.
Json ValueSchema(const FieldDescriptor& field, Json* schemas) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return {{"type", "integer"}, {"format", "int32"}};
    case FieldDescriptor::CPPTYPE_UINT32:
      return {{"type", "integer"}, {"format", "int64"}, {"minimum", 0}};
    case FieldDescriptor::CPPTYPE_INT64:
      return {{"type", "string"}, {"format", "int64"}};
    case FieldDescriptor::CPPTYPE_UINT64:
      return {{"type", "string"}, {"format", "uint64"}};
    case FieldDescriptor::CPPTYPE_FLOAT:
      return {{"type", "number"}, {"format", "float"}};
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return {{"type", "number"}, {"format", "double"}};
    case FieldDescriptor::CPPTYPE_BOOL:
      return {{"type", "boolean"}};
    case FieldDescriptor::CPPTYPE_ENUM:
      return EnumSchema(*field.enum_type(), schemas);
    case FieldDescriptor::CPPTYPE_STRING:
      if (field.type() == FieldDescriptor::TYPE_BYTES) {
        return {{"type", "string"}, {"format", "byte"}};
      }
      return {{"type", "string"}};
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return SchemaOf(*field.message_type(), schemas);
  }
  return Json::object();
}

Json FieldSchema(const FieldDescriptor& field, Json* schemas) {
  Json schema;
  if (field.is_map()) {
    schema = {{"type", "object"},
              {"additionalProperties", ValueSchema(*field.message_type()->map_value(), schemas)}};
  } else if (field.is_repeated()) {
    schema = {{"type", "array"}, {"items", ValueSchema(field, schemas)}};
  } else {
    schema = ValueSchema(field, schemas);
  }
  std::string description = CommentOf(field);
  if (const OneofDescriptor* oneof = field.real_containing_oneof(); oneof != nullptr) {
    description += Concat(description.empty() ? "" : " ", "(One of `", oneof->name(), "`.)");
  }
  if (description.empty()) return schema;
  // What stands beside a reference is not read.
  if (schema.contains("$ref")) schema = {{"allOf", Json::array({schema})}};
  const std::string own = schema.value("description", "");
  schema["description"] = own.empty() ? description : Concat(description, " ", own);
  return schema;
}

// The form of one of protobuf's own messages; null when it has none.
Json SpecialSchema(const Descriptor& type, Json* schemas) {
  if (type.file()->package() != "google.protobuf") return nullptr;
  const std::string& name = type.name();
  if (name == "Timestamp") return {{"type", "string"}, {"format", "date-time"}};
  if (name == "Duration") {
    return {{"type", "string"},
            {"pattern", "^-?[0-9]+(\\.[0-9]{1,9})?s$"},
            {"description", "Seconds, such as `1.5s`."}};
  }
  if (name == "FieldMask") {
    return {{"type", "string"}, {"description", "Paths with commas between, such as `id,text`."}};
  }
  if (name == "Struct") return {{"type", "object"}, {"additionalProperties", true}};
  if (name == "ListValue") return {{"type", "array"}, {"items", Json::object()}};
  if (name == "Value") return {{"description", "Any JSON value."}, {"nullable", true}};
  if (name == "Any") {
    return {{"type", "object"},
            {"properties", {{"@type", {{"type", "string"}}}}},
            {"required", Json::array({"@type"})},
            {"additionalProperties", true},
            {"description", "A message of the type that `@type` names, with its fields."}};
  }
  if (name.ends_with("Value") && type.field_count() == 1) {  // Int64Value and the like
    Json schema = ValueSchema(*type.field(0), schemas);
    schema["nullable"] = true;
    return schema;
  }
  return nullptr;
}

std::string MessageDescription(const Descriptor& type) {
  std::string description = CommentOf(type);
  for (int i = 0; i < type.real_oneof_decl_count(); ++i) {
    const OneofDescriptor& oneof = *type.oneof_decl(i);
    std::string names;
    for (int j = 0; j < oneof.field_count(); ++j) {
      names += Concat(j == 0 ? "`" : ", `", oneof.field(j)->json_name(), "`");
    }
    description += Concat(description.empty() ? "" : "\n\n", "`", oneof.name(),
                          "`: at most one of ", names, ". ", CommentOf(oneof));
  }
  return description;
}

}  // namespace

Json SchemaOf(const Descriptor& type, Json* schemas) {
  if (Json special = SpecialSchema(type, schemas); !special.is_null()) return special;
  if (schemas->contains(type.full_name())) return Reference(type.full_name());
  (*schemas)[type.full_name()] = nullptr;  // a message may hold itself
  Json properties = Json::object();
  for (int i = 0; i < type.field_count(); ++i) {
    properties[type.field(i)->json_name()] = FieldSchema(*type.field(i), schemas);
  }
  Json schema = {{"type", "object"}};
  if (const std::string text = MessageDescription(type); !text.empty()) {
    schema["description"] = text;
  }
  if (!properties.empty()) schema["properties"] = std::move(properties);
  (*schemas)[type.full_name()] = std::move(schema);
  return Reference(type.full_name());
}

}  // namespace vecino::rpc
