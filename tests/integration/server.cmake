# Drives the real vecinod through the generated stubs.
if(TARGET vecinod)
  vecino_add_test(NAME server_integration_test
    SOURCES server_test.cc server_bad_input_test.cc server_lifecycle_test.cc server_process.cc
    LIBS vecino_proto nlohmann_json::nlohmann_json absl::strings
    LABELS integration
    TIMEOUT 600)
  target_precompile_headers(server_integration_test PRIVATE <grpcpp/grpcpp.h> <google/protobuf/message.h>)
  add_dependencies(server_integration_test vecinod)
endif()
