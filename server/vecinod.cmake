# Metrics, for every room of the server, and the server's binary.
set(here ${CMAKE_CURRENT_LIST_DIR})

add_library(vecino_metrics STATIC ${here}/metrics.cc)
target_link_libraries(vecino_metrics PUBLIC absl::synchronization
                                     PRIVATE prometheus-cpp::core vecino_warnings)

# What main() needs besides the rooms, as a library so that tests can use it.
find_library(VECINO_HTTPLIB cpp-httplib REQUIRED)
add_library(vecino_server STATIC ${here}/admin_http.cc ${here}/api_routes.cc ${here}/blas_environment.cc
                                 ${here}/call_routes.cc ${here}/chat_completion.cc ${here}/config.cc
                                 ${here}/generator_url.cc ${here}/http_body.cc ${here}/http_generator.cc ${here}/sse_parser.cc
                                 ${here}/data_dir.cc ${here}/logging.cc ${here}/stop_deadline.cc
                                 ${here}/stop_signal.cc)
# As Debian compiled the library (see its pkg-config file): they change the layout of its classes.
target_compile_definitions(vecino_server PRIVATE CPPHTTPLIB_OPENSSL_SUPPORT CPPHTTPLIB_ZLIB_SUPPORT
                                                 CPPHTTPLIB_BROTLI_SUPPORT)
target_link_libraries(vecino_server
  PUBLIC vecino_rpc absl::status absl::statusor absl::strings absl::synchronization absl::time
  PRIVATE CLI11::CLI11 nlohmann_json::nlohmann_json spdlog::spdlog ${VECINO_HTTPLIB}
          ${CMAKE_DL_LIBS} vecino_warnings)

if(TARGET vecino_engine AND TARGET vecino_encoder AND TARGET vecino_storage)
  add_executable(vecinod ${here}/main.cc)
  target_compile_definitions(vecinod PRIVATE VECINO_VERSION="${PROJECT_VERSION}")
  target_link_libraries(vecinod PRIVATE vecino_server vecino_rpc vecino_engine vecino_encoder
                                        vecino_storage vecino_metrics spdlog::spdlog vecino_warnings)
  # Beside each other in one folder, where users, scripts and tests look for them.
  set_target_properties(vecinod PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
  install(TARGETS vecinod RUNTIME DESTINATION bin)
endif()
