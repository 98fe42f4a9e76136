# Tests of the command line, of a client in another language, and of what survives kill -9. VECINO_TEST_PYTHON is
# a Python with the packages of tests/requirements.txt and VECINO_MODEL_ROOT the folder of the models; tests that
# need one that is missing are reported as skipped.
set(client_test_python ${VECINO_TEST_PYTHON})
if(NOT client_test_python)
  set(client_test_python ${Python3_EXECUTABLE})
endif()

function(vecino_add_python_test name labels timeout)
  add_test(NAME ${name} COMMAND ${client_test_python} ${CMAKE_CURRENT_LIST_DIR}/${name}.py)
  set_tests_properties(${name} PROPERTIES LABELS "${labels}" TIMEOUT ${timeout} SKIP_RETURN_CODE 77
    ENVIRONMENT "${VECINO_TEST_ENVIRONMENT};VECINO_MODEL_ROOT=${VECINO_MODEL_ROOT}")
endfunction()

if(TARGET vecinod AND VECINO_SANITIZER STREQUAL "")
  vecino_add_python_test(command_line_test integration 900)
  vecino_add_python_test(bench_command_test integration 900)
  vecino_add_python_test(index_export_test integration 900)
  vecino_add_python_test(admin_test integration 600)
  vecino_add_python_test(demo_test integration 900)
  vecino_add_python_test(deploy_run_test integration 120)
  vecino_add_python_test(documents_test integration 900)
  vecino_add_python_test(python_client_test integration 120)
  vecino_add_python_test(search_features_test integration 120)
  vecino_add_python_test(words_test integration 120)
  vecino_add_python_test(chunking_test integration 900)
  vecino_add_python_test(rerank_test integration 900)
  vecino_add_python_test(openai_api_test integration 900)
  vecino_add_python_test(answer_test integration 900)
  vecino_add_python_test(ingest_test integration 900)
  vecino_add_python_test(migration_test integration 900)
  vecino_add_python_test(prompts_test integration 300)
  vecino_add_python_test(snapshot_test integration 600)
  vecino_add_python_test(http_api_test integration 900)
  vecino_add_python_test(full_disk_test integration 300)
  vecino_add_python_test(crash_test "integration;slow" 900)
  # Cranfield by meaning, by words and by both. Skipped without ../shared/data/cranfield or the model.
  add_test(NAME hybrid_quality COMMAND ${client_test_python} ${CMAKE_SOURCE_DIR}/tests/bench/hybrid_quality.py)
  set_tests_properties(hybrid_quality PROPERTIES LABELS "integration;slow" TIMEOUT 900 SKIP_RETURN_CODE 77
    ENVIRONMENT "${VECINO_TEST_ENVIRONMENT};VECINO_MODEL_ROOT=${VECINO_MODEL_ROOT}")
endif()
